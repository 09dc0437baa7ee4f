using System;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.Versioning;
using System.Threading;
using System.Threading.Tasks;
using Grpc.Core;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests.Launching;

public sealed class SupervisorLifeTests
{
    private const int LogBytes = 256 * 1024;

    // So that nothing but force ends a stream soon.
    private static readonly string s_slow = "[scheduling]\ndrain_s = 600\n[server]\nowner_grace_s = 0.2\n"
        + Configuration.Simulated("talker", card: "")
        + Configuration.Simulated("slow", card: "", settings: ("tokens_per_s", 20));

    private static readonly string[] s_flood = ["flood-stderr"];

    private static readonly TimeSpan s_soon = TimeSpan.FromSeconds(2);

    [Fact]
    [SupportedOSPlatform("linux")]
    public async Task Everything_is_gone_behind_the_block()
    {
        using var world = new LaunchWorld(s_slow);
        string folder;
        int process;
        await using (var supervisor = await StartAsync(world.Options with { RuntimeDirectory = null }))
        {
            (folder, process) = (supervisor.RuntimeDirectory, supervisor.ProcessId);
            Assert.True(supervisor.Owned);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
                File.GetUnixFileMode(folder));
            Assert.True(Processes.Lives(process));
            Assert.Equal(process, (await supervisor.Client.StatusAsync()).Supervisor.ProcessId);
            Assert.False(supervisor.Exited!.IsCompleted);
            await Bounds.Until(supervisor.StopAsync(), "it ended");
            Assert.Equal(0, await Bounds.Until(supervisor.Exited, "its exit code"));
            await Assert.ThrowsAsync<ClientClosedException>(() => supervisor.Client.StatusAsync());
        }
        await Processes.GoneAsync([process]);
        Assert.False(Directory.Exists(folder));
    }

    [Fact]
    public async Task Requests_of_others_end_before_their_supervisor()
    {
        using var world = new LaunchWorld(s_slow);
        var supervisor = await StartAsync(world.Options);
        var stream = await world.BeginStreamAsync("slow", tokens: 20);
        var family = Processes.Family(supervisor.ProcessId);
        await Bounds.Until(supervisor.DisposeAsync().AsTask(), "it ended");
        Assert.Equal(20, await Bounds.Until(stream, "the whole answer"));
        await Processes.GoneAsync(family);
    }

    [Fact]
    public async Task Force_hurries_an_end_that_has_begun()
    {
        using var world = new LaunchWorld(s_slow);
        var supervisor = await StartAsync(world.Options with { StopTimeout = TimeSpan.FromMinutes(10) });
        var stream = await world.BeginStreamAsync("slow", tokens: 100_000);
        var stopping = supervisor.StopAsync();
        await Bounds.Until(supervisor.StopAsync(force: true), "it ended");
        await Bounds.Until(stopping, "the first call ended with it");
        await Assert.ThrowsAsync<RpcException>(() => stream);
    }

    [Fact]
    public async Task Cancelling_a_stop_kills_one_that_hangs()
    {
        using var world = new LaunchWorld(s_slow);
        var supervisor = await StartAsync(world.Options);
        await world.LoadAsync("talker");
        var family = Processes.Family(supervisor.ProcessId);
        Assert.True(family.Count > 1);
        Processes.Pause(supervisor.ProcessId);
        using var source = new CancellationTokenSource();
        var stopping = supervisor.StopAsync(cancellationToken: source.Token);
        await source.CancelAsync();
        await Bounds.Until(stopping, "it was killed");
        await Processes.GoneAsync(family);
    }

    [Fact]
    public async Task One_that_does_not_answer_is_killed()
    {
        using var world = new LaunchWorld(s_slow);
        var supervisor = await StartAsync(world.Options with { AskTime = s_soon, GraceTime = s_soon });
        Processes.Pause(supervisor.ProcessId);
        await Bounds.Until(supervisor.StopAsync(), "it was killed");
        Assert.Equal(137, await supervisor.Exited!);
    }

    [Fact]
    public async Task One_that_does_not_answer_may_take_all_the_time_of_a_start()
    {
        using var world = new LaunchWorld(s_slow);
        var options = world.Options with { AskTime = s_soon, GraceTime = s_soon };
        var supervisor = await StartAsync(options);
        Processes.Pause(supervisor.ProcessId);
        options = world.Options with { AskTime = s_soon, StartTimeout = TimeSpan.FromSeconds(1) };
        await Assert.ThrowsAsync<StartFailedException>(
            () => Bounds.Until(VramdSupervisor.AttachOrStartAsync(options), "it was given up"));
        await Bounds.Until(supervisor.StopAsync(), "it was killed");
    }

    [Fact]
    public async Task One_that_cannot_be_asked_ends_with_its_lifeline()
    {
        using var world = new LaunchWorld(s_slow);
        var options = new VramdClientOptions { HttpHandler = () => throw new PlatformNotSupportedException() };
        var supervisor = await StartAsync(world.Options with { Client = options });
        var family = Processes.Family(supervisor.ProcessId);
        await Bounds.Until(supervisor.StopAsync(), "it ended");
        Assert.Equal(0, await supervisor.Exited!);
        await Processes.GoneAsync(family);
    }

    [Fact]
    public async Task One_that_has_died_needs_no_end_and_a_later_one_gets_none()
    {
        using var world = new LaunchWorld(s_slow);
        var first = await StartAsync(world.Options);
        using (var process = Process.GetProcessById(first.ProcessId))
        {
            process.Kill();
        }
        Assert.Equal(137, await Bounds.Until(first.Exited!, "its exit code"));
        await using var second = await AttachOrStartAsync(world);
        Assert.True(second.Owned);
        await Bounds.Until(first.StopAsync(force: true), "nothing was to be done");
        Assert.Equal(second.ProcessId, await world.SupervisorAsync());
    }

    [Fact]
    public async Task One_that_was_found_goes_on_and_one_that_was_started_ends()
    {
        using var world = new LaunchWorld(s_slow);
        await using var first = await AttachOrStartAsync(world);
        await using (var second = await AttachOrStartAsync(world))
        {
            Assert.Equal((true, false), (first.Owned, second.Owned));
            Assert.Equal(first.ProcessId, second.ProcessId);
            Assert.Equal(first.Address, second.Address);
            Assert.Null(second.Exited);
            await second.StopAsync(force: true);
        }
        Assert.Equal(first.ProcessId, await world.SupervisorAsync());
    }

    [Fact]
    public async Task Programs_that_ask_for_one_at_once_get_the_same()
    {
        using var world = new LaunchWorld(s_slow);
        var hosts = await Task.WhenAll(TestHost.StartAsync(world, "attach"), TestHost.StartAsync(world, "attach"));
        await using var here = await AttachOrStartAsync(world);
        Assert.Single(hosts, host => host.Owned);
        Assert.All(hosts, host => Assert.Equal(here.ProcessId, host.SupervisorId));
        Assert.False(here.Owned);
        foreach (var host in hosts.OrderBy(host => host.Owned))
        {
            host.Order("stop");
            Assert.Equal("stopped", await host.SaysAsync());
            await host.DisposeAsync();
        }
        await Processes.GoneAsync([here.ProcessId]);
    }

    [Fact]
    public async Task Many_in_one_program_get_the_same()
    {
        using var world = new LaunchWorld(s_slow);
        var all = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => AttachOrStartAsync(world)));
        Assert.Single(all, one => one.Owned);
        Assert.Single(all.Select(one => one.ProcessId).Distinct());
        foreach (var one in all)
        {
            await one.DisposeAsync();
        }
        await Processes.GoneAsync([all[0].ProcessId]);
    }

    [Fact]
    public async Task One_that_ends_is_not_attached_to()
    {
        using var world = new LaunchWorld(s_slow);
        var first = await StartAsync(world.Options);
        var stream = await world.BeginStreamAsync("slow", tokens: 160); // so long that its end can be seen to begin
        var stopping = first.StopAsync();
        await world.EndingAsync();
        await using var second = await AttachOrStartAsync(world);
        Assert.True(second.Owned);
        Assert.NotEqual(first.ProcessId, second.ProcessId);
        Assert.Equal(160, await Bounds.Until(stream, "the whole answer"));
        await Bounds.Until(stopping, "the first has ended");
    }

    [Fact]
    public async Task A_log_that_is_not_read_stops_nothing()
    {
        // Names so long that the log is soon longer than any pipe.
        var name = new string('x', 200);
        using var world = new LaunchWorld(
            s_slow
            + Configuration.Simulated(name, card: "", host: "4000GiB")
            + Configuration.Simulated("flood", card: "", settings: ("manners", s_flood)));
        using var release = new ManualResetEventSlim();
        var supervisor = await StartAsync(world.Options with { Log = _ => release.Wait() });
        var log = new FileInfo(Path.Combine(world.Folder, "logs", "supervisor.log"));
        while (log.Length < LogBytes)
        {
            await world.LoadAsync("flood");
            for (var refused = 0; refused < 50; refused++)
            {
                await Assert.ThrowsAsync<RpcException>(() => world.LoadAsync(name));
            }
            log.Refresh();
        }
        Assert.NotEqual(0, await world.LoadAsync("talker"));
        release.Set();
        await Bounds.Until(supervisor.StopAsync(), "it ended");
    }

    [Fact]
    public async Task A_log_that_throws_is_told_at_the_end()
    {
        using var world = new LaunchWorld(s_slow);
        var lines = new ConcurrentQueue<string>();
        var supervisor = await StartAsync(world.Options with
        {
            Log = line =>
            {
                lines.Enqueue(line);
                throw new InvalidOperationException(line);
            },
        });
        var error = await Assert.ThrowsAsync<InvalidOperationException>(
            () => Bounds.Until(supervisor.StopAsync(), "it ended"));
        Assert.Equal(Assert.Single(lines), error.Message);
    }

    private static Task<VramdSupervisor> StartAsync(SupervisorOptions options) =>
        Bounds.Until(VramdSupervisor.StartAsync(options), "the supervisor was started");

    private static Task<VramdSupervisor> AttachOrStartAsync(LaunchWorld world) =>
        Bounds.Until(VramdSupervisor.AttachOrStartAsync(world.Options), "a supervisor is there");
}
