using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests.Launching;

public sealed class StartFailureTests
{
    [Fact]
    public async Task A_wrong_configuration_is_told_with_its_exit_code_and_the_log()
    {
        using var world = new LaunchWorld("[server]\nport = 99999\n");
        var log = new ConcurrentQueue<string>();
        var error = await FailsAsync(world.Options with { Port = 0, Log = log.Enqueue });
        Assert.Equal(2, error.ExitCode);
        Assert.Contains("exit code 2:\n", error.Message, StringComparison.Ordinal);
        Assert.Contains("server.port", error.Message, StringComparison.Ordinal);
        Assert.Contains("server.port", error.Log, StringComparison.Ordinal);
        Assert.Contains(log, line => line.Contains("server.port", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_port_that_is_taken_is_exit_code_1()
    {
        using var world = new LaunchWorld();
        var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        var error = await FailsAsync(world.Options with { Port = ((IPEndPoint)other.LocalEndpoint).Port });
        other.Stop();
        Assert.Equal(1, error.ExitCode);
    }

    [Fact]
    public async Task A_runtime_folder_that_is_taken_is_exit_code_69()
    {
        using var world = new LaunchWorld();
        await using var first = await StartAsync(world.Options);
        var error = await FailsAsync(world.Options);
        Assert.Equal(69, error.ExitCode);
        Assert.Equal(first.ProcessId, await world.SupervisorAsync());
    }

    [Fact]
    public async Task One_that_says_nothing_in_time_is_ended_with_what_it_wraps()
    {
        using var world = new LaunchWorld();
        var log = new ConcurrentQueue<string>();
        var error = await FailsAsync(world.Options with
        {
            Command = Shell("echo $$; sleep 1000 & echo $! >&2; echo > said; wait"),
            Starter = new Waiting("said"), // the clock starts when both are there
            StartTimeout = TimeSpan.FromSeconds(1),
            GraceTime = TimeSpan.FromSeconds(1),
            Log = log.Enqueue,
        });
        Assert.Null(error.ExitCode);
        Assert.Contains("no supervisor after 1 s", error.Message, StringComparison.Ordinal);
        await Bounds.Until("both have said who they are", () => log.Count == 2);
        await Processes.GoneAsync(Array.ConvertAll(log.ToArray(), int.Parse));
    }

    [Fact]
    public async Task Output_and_exit_code_of_a_wrapper_are_told()
    {
        using var world = new LaunchWorld();
        var error = await FailsAsync(world.Options with { Command = Shell("echo one; echo two >&2; exit 7") });
        Assert.Equal(7, error.ExitCode);
        Assert.Contains("one", error.Log, StringComparison.Ordinal);
        Assert.Contains("two", error.Log, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_exit_code_of_the_supervisor_is_told_not_that_of_a_wrapper()
    {
        using var world = new LaunchWorld();
        var line = "VRAMD_ERROR {\"code\": 2, \"message\": \"what is wrong\"}";
        var error = await FailsAsync(world.Options with { Command = Shell($"echo '{line}'; exit 9") });
        Assert.Equal(2, error.ExitCode);
        Assert.EndsWith("what is wrong", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_newer_supervisor_is_refused()
    {
        using var world = new LaunchWorld();
        var line = """VRAMD_READY {"schema": 1, "api": 99, "pid": 1, "address": "127.0.0.1:1", "runtime_dir": "/"}""";
        var error = await FailsAsync(world.Options with { Command = Shell($"echo '{line}'; read wait") });
        Assert.Contains("newer Vramd.Client", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_program_that_cannot_be_run_is_named()
    {
        using var world = new LaunchWorld();
        var error = await FailsAsync(world.Options with { Command = [world.ConfigFile] });
        Assert.Contains(world.ConfigFile, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Why_a_starter_cannot_start_it_is_told()
    {
        using var world = new LaunchWorld();
        var starter = new Refusing();
        var error = await FailsAsync(world.Options with { Starter = starter });
        Assert.EndsWith("not here", error.Message, StringComparison.Ordinal);
        Assert.Equal([RealSupervisor.Command!, "serve"], starter.Command[..2]);
        Assert.Equal(world.Folder, starter.Folder);
        Assert.Equal(world.Environment["VRAMD_STATE_DIR"], starter.Environment["VRAMD_STATE_DIR"]);
        Assert.Contains("HOME", starter.Environment.Keys);
    }

    [Fact]
    public async Task Folders_that_cannot_be_had_are_named()
    {
        using var world = new LaunchWorld();
        var error = await FailsAsync(world.Options with { Models = ["nowhere"] });
        Assert.Contains("there is no folder of models /", error.Message, StringComparison.Ordinal);
        error = await FailsAsync(world.Options with { RuntimeDirectory = Path.Combine(world.ConfigFile, "run") });
        Assert.Contains("the runtime folder cannot be made", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cancelling_ends_what_was_started()
    {
        using var world = new LaunchWorld();
        using var source = new CancellationTokenSource();
        var started = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
        var options = world.Options with
        {
            Command = Shell("echo $$; read wait"),
            Log = line => started.TrySetResult(int.Parse(line, null)),
        };
        var starting = VramdSupervisor.StartAsync(options, source.Token);
        var process = await Bounds.Until(started.Task, "it was started");
        await source.CancelAsync();
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Bounds.Until(starting, "it ended"));
        Assert.Equal(source.Token, error.CancellationToken);
        await Processes.GoneAsync([process]);
    }

    private static IReadOnlyList<string> Shell(string script) => ["/bin/sh", "-c", script];

    private static Task<VramdSupervisor> StartAsync(SupervisorOptions options) =>
        Bounds.Until(VramdSupervisor.StartAsync(options), "the supervisor was started");

    private static Task<StartFailedException> FailsAsync(SupervisorOptions options) =>
        Assert.ThrowsAsync<StartFailedException>(() => StartAsync(options));

    /// <summary>Starts a process, and returns when it has made a file in its folder.</summary>
    private sealed class Waiting(string file) : IProcessStarter
    {
        public IStartedProcess Start(
            IReadOnlyList<string> command, string workingDirectory, IReadOnlyDictionary<string, string> environment)
        {
            var process = new ProcessStarter().Start(command, workingDirectory, environment);
            Assert.True(SpinWait.SpinUntil(() => File.Exists(Path.Combine(workingDirectory, file)), Bounds.Bound));
            return process;
        }
    }

    private sealed class Refusing : IProcessStarter
    {
        public string[] Command { get; private set; } = [];

        public string Folder { get; private set; } = "";

        public IReadOnlyDictionary<string, string> Environment { get; private set; } = new Dictionary<string, string>();

        public IStartedProcess Start(
            IReadOnlyList<string> command, string workingDirectory, IReadOnlyDictionary<string, string> environment)
        {
            (Command, Folder, Environment) = ([.. command], workingDirectory, environment);
            throw new IOException("not here");
        }
    }
}
