using System;
using System.IO;
using System.Runtime.InteropServices;
using Google.Protobuf.WellKnownTypes;

namespace Vramd;

/// <summary>The folder where a supervisor leaves its address and its tokens.</summary>
internal sealed class RuntimeFolder
{
    private const string Name = "vramd";

    internal RuntimeFolder(string path) => Path = System.IO.Path.GetFullPath(path);

    internal string Path { get; }

    /// <summary>Lies there as long as the supervisor lives.</summary>
    internal string AddressFile => In("supervisor.json");

    /// <summary>The token for everything.</summary>
    internal string TokenFile => In("token");

    /// <summary>The certificate that the supervisor serves with.</summary>
    internal string CertificateFile => In("certificate.pem");

    /// <summary>The folder of this user's supervisor: VRAMD_RUNTIME_DIR, else the system's place for it.</summary>
    /// <param name="environment">Gives the value of a variable.</param>
    /// <exception cref="SupervisorNotFoundException">The system's place cannot be used.</exception>
    internal static string Default(Func<string, string?> environment) =>
        environment("VRAMD_RUNTIME_DIR") is { Length: > 0 } chosen
            ? chosen
            : System.IO.Path.Combine(SystemPlace(environment), Name);

    internal static SupervisorNotFoundException NotFound(string message) => new("SUPERVISOR_NOT_FOUND", message);

    /// <summary>What the supervisor has left; null if there is nothing, or nothing that can be read.</summary>
    internal (string Address, string TlsName)? ReadAddress()
    {
        try
        {
            var fields = Struct.Parser.ParseJson(File.ReadAllText(AddressFile)).Fields;
            var tls = fields.TryGetValue("tls_name", out var name) ? name.StringValue : "";
            return fields.TryGetValue("address", out var address) && address.HasStringValue
                ? (address.StringValue, tls)
                : null;
        }
        // Its parser throws an IOException for what is no JSON.
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The place that Python's platformdirs gives: the supervisor has asked that.</summary>
    private static string SystemPlace(Func<string, string?> environment)
    {
        if (RuntimeInformation.IsOSPlatform(OSPlatform.Windows))
        {
            var local = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
            return System.IO.Path.Combine(local, "Temp");
        }

        if (environment("XDG_RUNTIME_DIR") is { } given && given.StartsWith('/')
            && FolderOwner.ProblemOf(given, FolderOwner.Private, mayBeMissing: true) is null)
        {
            return given;
        }

        if (RuntimeInformation.IsOSPlatform(OSPlatform.OSX))
        {
            var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
            return System.IO.Path.Combine(home, "Library", "Caches", "TemporaryItems");
        }

        var user = FolderOwner.CurrentUser();
        var own = $"/run/user/{user}";
        return FolderOwner.ProblemOf(own, FolderOwner.Private, mayBeMissing: false) is null ? own : BelowTemp(user, environment);
    }

    private static string BelowTemp(uint user, Func<string, string?> environment)
    {
        // Another user can make a folder of this name.
        var folder = System.IO.Path.Combine(Temp(environment), $"runtime-{user}");
        return FolderOwner.ProblemOf(folder, FolderOwner.NotWritableByAll, mayBeMissing: true) is { } problem
            ? throw NotFound($"there is no runtime folder: {problem}; VRAMD_RUNTIME_DIR may name another one")
            : folder;
    }

    private static string Temp(Func<string, string?> environment)
    {
        foreach (var variable in new[] { "TMPDIR", "TEMP", "TMP" })
        {
            if (environment(variable) is { Length: > 0 } folder && Directory.Exists(folder))
            {
                return System.IO.Path.GetFullPath(folder);
            }
        }

        return "/tmp";
    }

    private string In(string file) => System.IO.Path.Combine(Path, file);
}
