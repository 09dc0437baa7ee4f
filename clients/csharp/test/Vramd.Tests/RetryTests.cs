using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>A call is made again where the supervisor could not begin to answer and says that waiting helps.</summary>
public sealed class RetryTests
{
    private static readonly TimeSpan Advised = TimeSpan.FromSeconds(2);

    [Theory]
    [InlineData(3, 2)]
    [InlineData(1, 0)]
    public async Task A_supervisor_that_ends_is_asked_again_as_often_as_the_options_say(int most, int pauses)
    {
        await using var supervisor = await RealSupervisor.StartAsync(
            Configuration.Simulated("slow", card: "", settings: ("tokens_per_s", 1)));
        var waited = new List<TimeSpan>();
        var options = new VramdClientOptions { MaxAttempts = most, Delay = Pause };
        await using var client = VramdClient.Connect(supervisor.Folder, options);
        await using var answer = client.ChatAsync("slow", "Count.").GetAsyncEnumerator();
        Assert.True(await answer.MoveNextAsync());
        await using var events = await client.WatchAsync();
        await client.ShutdownAsync();

        await Assert.ThrowsAsync<ShuttingDownException>(() => client.EmbedAsync("slow", ["x"]));
        Assert.Equal(pauses, waited.Count);
        await Assert.ThrowsAsync<ShuttingDownException>(() => client.LoadAsync("slow", new() { ContextTokens = 9 }));
        Assert.Equal(2 * pauses, waited.Count);
        Assert.All(waited, pause => Assert.InRange(pause, Advised, Advised * 1.25));

        Task Pause(TimeSpan time, CancellationToken token)
        {
            waited.Add(time);
            return Task.CompletedTask;
        }
    }

    [Fact]
    public void A_wait_that_does_not_fit_into_the_timeout_is_none()
    {
        Assert.Null(new Attempts(Advised, 3).NextIn(Refused("UNAVAILABLE", Advised), moved: false));
        Assert.NotNull(new Attempts(Advised * 2, 3).NextIn(Refused("UNAVAILABLE", Advised), moved: false));
        Assert.NotNull(new Attempts(null, 3).NextIn(Refused("UNAVAILABLE", Advised), moved: false));
    }

    [Fact]
    public void Other_refusals_are_for_the_caller_to_decide()
    {
        Assert.Null(new Attempts(null, 3).NextIn(Refused("RESOURCE_EXHAUSTED", Advised), moved: false));
        Assert.Null(new Attempts(null, 3).NextIn(Refused("UNAVAILABLE", null), moved: false));
        Assert.Equal(TimeSpan.Zero, new Attempts(null, 3).NextIn(Refused("UNAUTHENTICATED", null), moved: true));
    }

    private static VramdException Refused(string code, TimeSpan? retryAfter) => new("ANY", "", null, retryAfter, code);
}
