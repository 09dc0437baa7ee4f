using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Text;
using System.Threading.Tasks;
using Google.Protobuf.WellKnownTypes;
using Xunit;

namespace Vramd.Tests.Support;

/// <summary>
/// A real supervisor: `vramd serve --owned` in a runtime folder that is made for it. This program holds its stdin, so it
/// ends with this program at the latest; disposing ends it, with its workers, and deletes its files.
/// </summary>
public sealed class RealSupervisor : IAsyncDisposable
{
    private const string Variable = "VRAMD_TEST_COMMAND";

    private readonly DirectoryInfo _own;
    private readonly ProcessStartInfo _start;
    private readonly StringBuilder _said = new();
    private Task _drained = Task.CompletedTask;

    private RealSupervisor(DirectoryInfo own, ProcessStartInfo start)
    {
        _own = own;
        _start = start;
        Process = Process.Start(start)!;
    }

    /// <summary>The program that `serve` is given to, usually the `vramd` of a virtual environment; null: none.</summary>
    public static string? Command => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } given ? given : null;

    /// <summary>Its process.</summary>
    public Process Process { get; private set; }

    /// <summary>Its runtime folder: address and token lie in it.</summary>
    public string Folder => Path.Combine(_own.FullName, "run");

    /// <summary>host:port.</summary>
    public string Address { get; private set; } = "";

    /// <summary>What its clients have to know.</summary>
    public string Token => File.ReadAllText(Path.Combine(Folder, "token")).Trim();

    /// <summary>What it has logged so far.</summary>
    public string Log => File.ReadAllText(Path.Combine(Folder, "logs", "supervisor.log"));

    /// <summary>Skips the test that calls it where there is no supervisor to test against.</summary>
    public static void SkipWithout() =>
        Assert.SkipWhen(Command is null, $"{Variable} names no vramd to test against");

    /// <summary>
    /// Starts one and waits until it listens; skips the test where there is none to start.
    /// <paramref name="configuration"/> is its vramd.toml, see <see cref="Configuration"/>.
    /// </summary>
    public static async Task<RealSupervisor> StartAsync(
        string configuration = "", IReadOnlyDictionary<string, string>? environment = null, params string[] arguments)
    {
        SkipWithout();
        // The path of a worker's socket is short, so this folder's is.
        var own = Directory.CreateTempSubdirectory("vs");
        var toml = Path.Combine(own.FullName, "vramd.toml");
        await File.WriteAllTextAsync(toml, configuration);
        var start = new ProcessStartInfo(Command!)
        {
            WorkingDirectory = own.FullName,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        string[] given = ["serve", "--owned", "--port", "0", "--config", toml, "--runtime-dir",
            Path.Combine(own.FullName, "run"), .. arguments];
        foreach (var argument in given)
        {
            start.ArgumentList.Add(argument);
        }
        foreach (var name in new List<string>(start.Environment.Keys))
        {
            if (name.StartsWith("VRAMD_", StringComparison.Ordinal) || name.StartsWith("PYTHON", StringComparison.Ordinal))
            {
                start.Environment.Remove(name);
            }
        }
        start.Environment["VRAMD_STATE_DIR"] = Path.Combine(own.FullName, "state");
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }
        var supervisor = new RealSupervisor(own, start);
        try
        {
            await supervisor.ReadyAsync();
            return supervisor;
        }
        catch
        {
            await supervisor.DisposeAsync();
            throw;
        }
    }

    /// <summary>Kills it, and starts another in the same runtime folder: on another port, with another token.</summary>
    public async Task RestartAsync()
    {
        Process.Kill();
        await Bounds.Until(Process.WaitForExitAsync(), "the supervisor was killed");
        Process.Dispose();
        Process = Process.Start(_start)!;
        await ReadyAsync();
    }

    /// <summary>Ends it as the end of its owner does.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            Process.StandardInput.Close();
            await Bounds.Until(Process.WaitForExitAsync(), "the supervisor ended with its owner");
            await Bounds.Until(_drained, "nothing holds the supervisor's outputs");
        }
        finally
        {
            if (!Process.HasExited)
            {
                Process.Kill(entireProcessTree: true);
            }
            Process.Dispose();
            await Folders.DeleteAsync(_own);
        }
    }

    private async Task ReadyAsync()
    {
        var ready = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        _drained = Task.WhenAll(
            DrainAsync(Process.StandardOutput, ready), DrainAsync(Process.StandardError, null));
        var line = await Bounds.Until(ready.Task, "the supervisor said that it listens");
        Address = Struct.Parser.ParseJson(line["VRAMD_READY ".Length..]).Fields["address"].StringValue;
    }

    private async Task DrainAsync(StreamReader from, TaskCompletionSource<string>? ready)
    {
        while (await from.ReadLineAsync() is { } line)
        {
            lock (_said)
            {
                _said.AppendLine(line);
            }
            if (line.StartsWith("VRAMD_READY ", StringComparison.Ordinal))
            {
                ready?.TrySetResult(line);
            }
        }
        lock (_said)
        {
            ready?.TrySetException(new InvalidOperationException($"the supervisor did not start:\n{_said}"));
        }
    }
}
