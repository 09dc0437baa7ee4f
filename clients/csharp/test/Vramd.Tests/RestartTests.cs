using System.IO;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>A client that was found by its runtime folder outlives its supervisor.</summary>
public sealed class RestartTests
{
    [Fact]
    public async Task The_next_call_goes_to_the_next_supervisor()
    {
        await using var supervisor = await RealSupervisor.StartAsync(Configuration.Simulated("talker", card: ""));
        await using var client = VramdClient.Connect(supervisor.Folder);
        var token = supervisor.Token;
        await client.AnswerAsync("talker", "Hello.", new() { MaxTokens = 2 });
        await using var events = await client.WatchAsync();

        await supervisor.RestartAsync();

        Assert.NotEqual(token, supervisor.Token);
        var answer = await client.AnswerAsync("talker", "Hello.", new() { MaxTokens = 2 });
        Assert.Equal(2, answer.TokenIds.Count);
        Assert.Equal(supervisor.Process.Id, (await client.StatusAsync()).Supervisor.ProcessId);
        Assert.Equal(supervisor.Address, client.Address);
        await Assert.ThrowsAnyAsync<UnavailableException>(() => Bounds.Until(ReadAsync(events), "the feed ended"));
        await using var hold = client.Hold("talker");
        await Bounds.Until(hold.ReadyAsync(), "the next one holds it");
    }

    [Fact]
    public async Task While_there_is_none_calls_say_so_and_afterwards_they_do_not()
    {
        await using var supervisor = await RealSupervisor.StartAsync();
        await using var client = VramdClient.Connect(supervisor.Folder);
        await client.StatusAsync();
        supervisor.Process.Kill();
        await Bounds.Until(supervisor.Process.WaitForExitAsync(), "the supervisor was killed");
        var error = await Assert.ThrowsAsync<SupervisorUnreachableException>(() => client.StatusAsync());
        Assert.Contains("start one with", error.Message);
        await supervisor.RestartAsync();
        Assert.Equal(supervisor.Process.Id, (await client.StatusAsync()).Supervisor.ProcessId);
    }

    [Fact]
    public async Task Events_of_one_that_is_gone_do_not_go_on_as_those_of_the_next()
    {
        await using var first = await RealSupervisor.StartAsync();
        await using var second = await RealSupervisor.StartAsync();
        await using var client = VramdClient.Connect(first.Folder);
        await using var events = await client.WatchAsync([EventKind.Model]);
        // So that the next one is there before the end of the first is heard of.
        Processes.Pause(first.Process.Id);
        foreach (var file in (string[])["supervisor.json", "token"])
        {
            File.Copy(Path.Combine(second.Folder, file), Path.Combine(first.Folder, file), overwrite: true);
        }
        first.Process.Kill();
        await Assert.ThrowsAnyAsync<UnavailableException>(() => Bounds.Until(ReadAsync(events), "the feed ended"));
        Assert.Equal(second.Process.Id, (await client.StatusAsync()).Supervisor.ProcessId);
    }

    private static async Task ReadAsync(EventFeed events)
    {
        await foreach (var one in events)
        {
        }
    }
}
