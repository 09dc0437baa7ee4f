using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace Vramd;

/// <summary>The environment of a supervisor, which starts in another folder than this program.</summary>
internal static class SupervisorEnvironment
{
    private static readonly string[] Files =
    {
        "VRAMD_CONFIG", "VRAMD_TLS_CERT", "VRAMD_TLS_KEY", "VRAMD_TLS_CLIENT_CA",
    };

    /// <summary>This program's environment with what is changed of it, relative paths made absolute.</summary>
    internal static IReadOnlyDictionary<string, string> Make(IReadOnlyDictionary<string, string?>? changes)
    {
        var made = new Dictionary<string, string>();
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            made[(string)variable.Key] = (string?)variable.Value ?? "";
        }

        foreach (var change in changes ?? new Dictionary<string, string?>())
        {
            if (change.Value is { } value)
            {
                made[change.Key] = value;
            }
            else
            {
                made.Remove(change.Key);
            }
        }

        foreach (var name in Files)
        {
            if (made.TryGetValue(name, out var file) && file.Length > 0)
            {
                made[name] = Path.GetFullPath(file);
            }
        }

        if (made.TryGetValue("VRAMD_MODELS", out var folders))
        {
            var whole = folders.Split(new[] { Path.PathSeparator }, StringSplitOptions.RemoveEmptyEntries).Select(Whole);
            made["VRAMD_MODELS"] = string.Join(Path.PathSeparator.ToString(), whole);
        }

        return made;
    }

    private static string Whole(string folder)
    {
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        var named = folder == "~" || folder.StartsWith("~/", StringComparison.Ordinal) ? home + folder[1..] : folder;
        return Path.GetFullPath(named);
    }
}
