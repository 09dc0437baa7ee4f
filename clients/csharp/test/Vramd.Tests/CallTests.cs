using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>Each call but those of <see cref="AnswerTests"/>, made to a supervisor of its own.</summary>
public sealed class CallTests : IAsyncLifetime
{
    private const long MiB = 1 << 20;

    private RealSupervisor _supervisor = null!;
    private VramdClient _client = null!;

    public async ValueTask InitializeAsync()
    {
        _supervisor = await RealSupervisor.StartAsync(
            "[scheduling]\nstop_s = 60\n" // no process that ends is killed
            + Configuration.Card
            + Configuration.Simulated("talker")
            + Configuration.Simulated("endless", card: "", settings: ("load_s", 600)));
        _client = VramdClient.Connect(_supervisor.Folder);
    }

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        await _supervisor.DisposeAsync();
    }

    [Fact]
    public async Task Texts_become_tokens_and_vectors()
    {
        var tokenIds = await _client.TokenizeAsync("talker", "Hello, you.");
        Assert.NotEmpty(tokenIds);
        Assert.NotEqual("", await _client.DetokenizeAsync("talker", tokenIds));
        var embeddings = await _client.EmbedAsync("talker", ["a cat", "a dog"]);
        Assert.Equal(2, embeddings.Vectors.Count);
        Assert.All(embeddings.Vectors, vector => Assert.Equal(embeddings.Dimensions, vector.Length));
        var answer = await _client.AnswerAsync("talker", [Turn.System("Be brief."), Turn.User("Hi.")], new() { MaxTokens = 2 });
        Assert.Equal(2, answer.TokenIds.Count);
    }

    [Fact]
    public async Task A_model_is_loaded_changed_replaced_and_unloaded()
    {
        Assert.Equal(["endless", "talker"], (await _client.ModelsAsync()).Select(model => model.Id));
        Assert.Equal(2, (await _client.RescanAsync()).Known);
        Assert.Equal(ModelState.Unloaded, (await _client.ModelAsync("talker")).State);
        Assert.Equal(Verdict.Begins, (await _client.PlanAsync("talker", new() { ContextTokens = 512 })).Verdict);
        Assert.NotEqual("", (await _client.SelectAsync("chat")).Model);

        var steps = new List<LoadProgress>();
        var loaded = await _client.LoadAsync(
            "talker", new() { ContextTokens = 512 }, progress: new Now<LoadProgress>(steps.Add));
        Assert.Equal(512, loaded.ContextTokens);
        Assert.Equal(ModelState.Ready, steps[^1].State);
        Assert.Contains(steps, step => step.State == ModelState.Loading);

        Assert.Equal("talker", Assert.Single(await _client.ResidentAsync()).Model);
        var updated = await _client.UpdateAsync("talker", pinned: true, keepAlive: Timeout.InfiniteTimeSpan, priority: Priority.Batch);
        Assert.Equal((true, Timeout.InfiniteTimeSpan, Priority.Batch), (updated.Pinned, updated.KeepAlive, updated.Priority));
        var replaced = await _client.RestartAsync("talker");
        Assert.True(replaced.WorkerId > loaded.WorkerId);
        Assert.Equal("talker", (await _client.ResetAsync("talker")).Id);
        var receipt = await _client.UnloadAsync("talker");
        Assert.Equal(replaced.WorkerId, receipt.WorkerId);
        Assert.Equal(Exit.Ended, receipt.Exit);

        Assert.Contains(await _client.DecisionsAsync("talker"), decision => decision.Kind == DecisionKind.Load);
        Assert.Single(await _client.DecisionsAsync(limit: 1));
        var lines = new List<string>();
        await foreach (var line in _client.LogsAsync(lines: 3))
        {
            lines.Add(line);
        }
        Assert.Equal(3, lines.Count);
    }

    [Fact]
    public async Task Memory_is_reserved_as_long_as_the_object_lives()
    {
        await using (var reservation = await _client.ReserveAsync(100 * MiB, "card", TimeSpan.FromMinutes(5), "game"))
        {
            var standing = Assert.Single(await _client.ReservationsAsync());
            Assert.Equal(
                (reservation.Id, "card", 100 * MiB, "game"),
                (standing.Id, standing.Device, standing.SizeBytes, standing.Label));
            Assert.True(standing.Left > TimeSpan.FromMinutes(4));
        }
        Assert.Empty(await _client.ReservationsAsync());
        Assert.False(await _client.ReleaseAsync(1));
        Assert.Contains(await _client.DevicesAsync(), device => device is { Id: "card", ReservedBytes: 0 });
        await Assert.ThrowsAsync<InvalidRequestException>(() => _client.ReserveAsync(-1));
    }

    [Fact]
    public async Task Of_what_happens_once_events_are_watched_nothing_is_missed()
    {
        await using var events = await _client.WatchAsync([EventKind.Model]);
        await _client.LoadAsync("talker");
        var seen = new List<ModelChanged>();
        await foreach (var one in events)
        {
            var change = Assert.IsType<ModelChanged>(one);
            seen.Add(change);
            if (change.After == ModelState.Ready)
            {
                break;
            }
        }
        Assert.Equal(ModelState.Unloaded, seen[0].Before);
        Assert.All(seen.Zip(seen.Skip(1)), pair => Assert.Equal(pair.First.After, pair.Second.Before));

        await _client.UnloadAsync("talker");
        await using var reading = events.GetAsyncEnumerator();
        Assert.True(await reading.MoveNextAsync(), "the feed goes on where it was left");
        Assert.Equal(ModelState.Ready, Assert.IsType<ModelChanged>(reading.Current).Before);

        using var enough = new CancellationTokenSource();
        var waiting = Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var one in events.WithCancellation(enough.Token))
            {
            }
        });
        await enough.CancelAsync();
        await Bounds.Until(waiting, "the wait for an event ended");

        await using var remembered = await _client.WatchAsync(afterSequence: 0);
        await foreach (var one in remembered)
        {
            Assert.Equal(1, one.Sequence);
            break;
        }
    }

    [Fact]
    public async Task A_held_model_is_warm_until_it_is_let_go_or_unloaded()
    {
        var told = new List<Held>();
        await using (var hold = _client.Hold("talker", "a game", progress: new Now<Held>(told.Add)))
        {
            await Bounds.Until(hold.ReadyAsync(), "the model is warm");
            Assert.Equal(ModelState.Ready, hold.State);
            Assert.Equal(["a game"], (await _client.ModelAsync("talker")).Resident!.Holders);
            await hold.DisposeAsync();
            await Bounds.Until(hold.Completion, "the hold is over");
            await Assert.ThrowsAsync<CancelledException>(() => hold.ReadyAsync());
        }
        Assert.Equal(ModelState.Ready, told[^1].State);
        await Bounds.Until("the supervisor has let go", async () =>
            (await _client.ModelAsync("talker")).Resident is { Holders.Count: 0 });

        await using var lost = _client.Hold("talker");
        await Bounds.Until(lost.ReadyAsync(), "the model is warm again");
        await _client.UnloadAsync("talker");
        await Assert.ThrowsAsync<UnloadedException>(() => Bounds.Until(lost.Completion, "the hold is lost"));
        Assert.Equal(ModelState.Unloaded, lost.State);
        await Assert.ThrowsAsync<UnloadedException>(() => lost.ReadyAsync());
    }

    [Fact]
    public async Task The_wait_for_a_held_model_can_be_ended_alone()
    {
        await using var hold = _client.Hold("endless");
        using var enough = new CancellationTokenSource();
        var ready = hold.ReadyAsync(enough.Token);
        await enough.CancelAsync();
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Bounds.Until(ready, "the wait is over"));
        Assert.Equal(enough.Token, error.CancellationToken);
        await Bounds.Until("it loads on", () => hold.State == ModelState.Loading);
        Assert.False(hold.Completion.IsCompleted);
        _supervisor.Process.Kill(); // its own end would wait for that of the load
    }

    [Fact]
    public async Task The_supervisor_says_how_it_is_drains_reads_its_file_again_and_ends()
    {
        var status = await _client.StatusAsync();
        Assert.Equal(_supervisor.Process.Id, status.Supervisor.ProcessId);
        Assert.Equal(_client.Address, status.Supervisor.Address);
        Assert.Equal(0, (await _client.DrainAsync()).Running);
        await Assert.ThrowsAsync<DrainingException>(() => _client.LoadAsync("talker"));
        await _client.UndrainAsync();
        Assert.Empty((await _client.ReloadConfigAsync(checkOnly: true)).Changes);
        await _client.ShutdownAsync(force: true);
        await Bounds.Until(_supervisor.Process.WaitForExitAsync(), "the supervisor ended");
        await Assert.ThrowsAsync<SupervisorUnreachableException>(() => _client.StatusAsync());
    }

    [Fact]
    public async Task A_closed_client_says_so_and_ends_what_it_runs()
    {
        await using var events = await _client.WatchAsync([EventKind.Model]); // of which there is none
        await using var reading = events.GetAsyncEnumerator();
        var next = reading.MoveNextAsync().AsTask();
        _client.Dispose();
        _client.Dispose();
        await Assert.ThrowsAsync<ClientClosedException>(() => Bounds.Until(next, "the feed ended"));
        await Assert.ThrowsAsync<ClientClosedException>(() => _client.StatusAsync());
    }

    [Fact]
    public async Task A_program_tests_itself_with_a_client_that_it_derives()
    {
        var client = new Parrot();
        var answer = await client.AnswerAsync("any", "Hello.");
        Assert.Equal(("Hello.", FinishReason.Stop), (answer.Text, answer.Finish.Reason));
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => client.StatusAsync());
        Assert.Contains("overrides", error.Message);
        await client.DisposeAsync();
    }

    private sealed class Parrot : VramdClient
    {
        public override async IAsyncEnumerable<ChatDelta> ChatAsync(
            string model,
            IEnumerable<Turn> conversation,
            AnswerSettings? settings = null,
            [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            yield return new ChatDelta { Text = conversation.Last().Text };
            yield return new ChatDelta { Finish = new Finish { Reason = FinishReason.Stop } };
        }
    }
}
