using System;
using System.Diagnostics;
using System.Globalization;
using System.Threading.Tasks;
using Grpc.Core;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests.Launching;

/// <summary>A supervisor ends with its host, however that ends, and with nothing else.</summary>
public sealed class HostEndTests
{
    private static readonly string s_models = "[scheduling]\ndrain_s = 600\n"
        + Configuration.Simulated("talker", card: "")
        + Configuration.Simulated("slow", card: "", settings: ("tokens_per_s", 20));

    /// <summary>How often one folder is started again: a variable asks for more than twice.</summary>
    private static int Lives =>
        int.Parse(Environment.GetEnvironmentVariable("VRAMD_TEST_LIVES") ?? "2", CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("kill", "stdin", false)]
    [InlineData("kill", "owner", true)]
    [InlineData("failfast", "stdin", true)]
    [InlineData("failfast", "stdin", false)]
    public async Task A_host_that_dies_takes_its_supervisor_along(string way, string lifeline, bool streams)
    {
        using var world = new LaunchWorld(s_models);
        await LiveAsync(world, way, lifeline, streams);
    }

    [Fact]
    public async Task Its_folder_can_be_started_again_at_once()
    {
        using var world = new LaunchWorld(s_models);
        for (var life = 0; life < Lives; life++)
        {
            var gone = await LiveAsync(world, "kill", "stdin", streams: true);
            TestContext.Current.TestOutputHelper?.WriteLine($"gone after {gone.TotalSeconds:f2} s");
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task It_survives_ctrl_c_and_the_collector(bool streams)
    {
        using var world = new LaunchWorld(s_models);
        await using var host = await TestHost.StartAsync(world);
        var stream = streams ? await world.BeginStreamAsync("slow", tokens: 20) : null;
        host.InterruptGroup();
        Assert.Equal("interrupted", await host.SaysAsync());
        host.Order("drop");
        Assert.Equal("dropped", await host.SaysAsync());
        Assert.Equal(host.SupervisorId, await world.SupervisorAsync());
        Assert.NotEqual(0, await world.LoadAsync("talker"));
        if (stream is not null)
        {
            Assert.Equal(20, await Bounds.Until(stream, "the whole answer"));
        }
        var family = Processes.Family(host.SupervisorId);
        host.Kill();
        await Processes.GoneAsync(family);
    }

    [Fact]
    public async Task One_whose_host_was_just_killed_is_replaced_at_once()
    {
        using var world = new LaunchWorld(s_models);
        await using var first = await TestHost.StartAsync(world, "attach");
        var stream = await world.BeginStreamAsync("slow", tokens: 100_000);
        first.Kill();
        await first.EndAsync();
        await using var second = await TestHost.StartAsync(world, "attach");
        Assert.True(second.Owned);
        Assert.NotEqual(first.SupervisorId, second.SupervisorId);
        await Assert.ThrowsAsync<RpcException>(() => Bounds.Until(stream, "the stream ended"));
    }

    /// <summary>Has a host live and die; returns how long its supervisor and the workers lived on.</summary>
    private static async Task<TimeSpan> LiveAsync(LaunchWorld world, string way, string lifeline, bool streams)
    {
        await using var host = await TestHost.StartAsync(world, "start", lifeline);
        await world.LoadAsync("talker");
        var stream = streams ? await world.BeginStreamAsync("slow", tokens: 100_000) : null;
        var family = Processes.Family(host.SupervisorId);
        Assert.True(family.Count >= (streams ? 3 : 2));
        if (way == "kill")
        {
            host.Kill();
        }
        else
        {
            host.Order(way);
        }
        await host.EndAsync();
        // The grace of 2 s and what the end takes; the drain would be 600.
        var began = Stopwatch.StartNew();
        await Processes.GoneAsync(family);
        var took = began.Elapsed;
        if (stream is not null)
        {
            await Assert.ThrowsAsync<RpcException>(() => Bounds.Until(stream, "the stream ended"));
        }
        return took;
    }
}
