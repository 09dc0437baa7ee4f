using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Runtime.InteropServices;
using System.Threading.Tasks;

namespace Vramd.Tests.Support;

/// <summary>The program Vramd.TestHost: a host that has a supervisor and can be ended in every way.</summary>
internal sealed class TestHost : IAsyncDisposable
{
    private const int Interrupt = 2;

    // A test run in the background of a shell ignores SIGINT, which its children inherit, and .NET leaves that as it is.
    private const string WithSigint =
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])";

    // VRAMD_TEST_HOST names another build of it.
    private static readonly string Program = Environment.GetEnvironmentVariable("VRAMD_TEST_HOST")
        ?? Path.Combine(AppContext.BaseDirectory, "Vramd.TestHost");

    private readonly Process _process;
    private readonly Task _errors;

    private TestHost(Process process)
    {
        _process = process;
        _errors = process.StandardError.BaseStream.CopyToAsync(Stream.Null);
    }

    /// <summary>The id of the supervisor's process.</summary>
    public int SupervisorId { get; private set; }

    /// <summary>Whether it has started the supervisor.</summary>
    public bool Owned { get; private set; }

    /// <summary>Starts one, and waits until it has its supervisor.</summary>
    /// <param name="world">Has the runtime folder and the configuration.</param>
    /// <param name="way">start or attach.</param>
    /// <param name="lifeline">stdin or owner.</param>
    public static async Task<TestHost> StartAsync(LaunchWorld world, string way = "start", string lifeline = "stdin")
    {
        var start = new ProcessStartInfo(Python.Command)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in new[] { "-c", WithSigint, Program, way, lifeline, world.Folder, world.ConfigFile })
        {
            start.ArgumentList.Add(argument);
        }
        foreach (var (name, value) in world.Environment)
        {
            start.Environment[name] = value;
        }
        start.Environment["VRAMD_COMMAND"] = $"\"{RealSupervisor.Command}\"";
        var host = new TestHost(Process.Start(start)!);
        var said = await host.SaysAsync();
        if (said.Split(' ') is not ["started", var pid, var kind])
        {
            await host.DisposeAsync();
            throw new InvalidOperationException(said);
        }
        host.SupervisorId = int.Parse(pid, System.Globalization.CultureInfo.InvariantCulture);
        host.Owned = kind == "owned";
        return host;
    }

    /// <summary>Gives it an order.</summary>
    public void Order(string order) => _process.StandardInput.WriteLine(order);

    /// <summary>Waits for its next line.</summary>
    public async Task<string> SaysAsync() =>
        await Bounds.Until(_process.StandardOutput.ReadLineAsync(), "the host says something") ?? "";

    /// <summary>Sends its process group what Ctrl-C in a terminal does.</summary>
    public void InterruptGroup() => _ = SendSignal(-_process.Id, Interrupt);

    /// <summary>Kills it, and it alone.</summary>
    public void Kill() => _process.Kill();

    /// <summary>Waits for its end.</summary>
    public Task EndAsync() => Bounds.Until(_process.WaitForExitAsync(), "the host ended");

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }
        await EndAsync();
        await Bounds.Until(_errors, "nothing holds the host's outputs");
        _process.Dispose();
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int SendSignal(int process, int signal);
}
