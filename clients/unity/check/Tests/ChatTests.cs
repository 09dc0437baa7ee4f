using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading.Tasks;
using UnityEngine;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Unity.Check;

// There is one main thread.
[Collection("frames")]
public sealed class ChatTests
{
    private static readonly string s_models = Configuration.Card
        + Configuration.Simulated("talker")
        + Configuration.Simulated("steady", settings: ("tokens_per_s", 250))
        + Configuration.Simulated("slow", settings: ("tokens_per_s", 20));

    [Fact]
    public void A_reply_comes_piece_by_piece_and_its_text_once_a_frame()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            // Long enough for several frames with text, however long one of them takes.
            var chat = Chat(host, "steady", tokens: 1500);
            chat.Configure = settings => settings with { EveryToken = true };
            var (pieces, replies) = (new List<string>(), new List<string>());
            var texts = new List<(int Frame, string Text)>();
            chat.onDelta.AddListener(pieces.Add);
            chat.onText.AddListener(text => texts.Add((FrameLoop.Frames, text)));
            chat.onReply.AddListener(replies.Add);
            var asked = chat.ChatAsync("Who goes there?");
            Assert.True(chat.Busy);
            await Assert.ThrowsAsync<InvalidOperationException>(() => chat.ChatAsync("And who there?"));
            var reply = await asked;
            Assert.False(chat.Busy);
            Assert.NotEmpty(reply);
            Assert.Equal(reply, string.Concat(pieces));
            Assert.True(pieces.Count > texts.Count, $"{pieces.Count} pieces, {texts.Count} texts");
            Assert.True(texts.Count > 2);
            Assert.All(texts, text => Assert.StartsWith(text.Text, reply));
            // The last one comes at once with the reply.
            Assert.Equal(texts.Count - 1, texts.SkipLast(1).Select(text => text.Frame).Distinct().Count());
            Assert.Equal(reply, texts[^1].Text);
            Assert.Equal(reply, Assert.Single(replies));
            Assert.Equal(["user", "assistant"], chat.History.Select(turn => turn.Role));
            await host.StopAsync();
        });
    }

    [Fact]
    public void Cancel_a_break_and_disabling_end_a_reply_in_its_worker()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            var chat = Chat(host, "slow", tokens: 10_000);
            var client = await host.ClientAsync();

            var asked = await BegunAsync(chat);
            chat.Cancel();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asked);
            await IdleAsync(client, "slow");

            await foreach (var piece in chat.StreamAsync("x"))
            {
                break;
            }
            Assert.False(chat.Busy);
            await IdleAsync(client, "slow");

            asked = await BegunAsync(chat);
            chat.enabled = false;
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asked);
            await IdleAsync(client, "slow");
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => chat.ChatAsync("x"));
            Assert.Empty(chat.History);
            await host.StopAsync();
        });
    }

    [Fact]
    public void A_worker_that_dies_is_an_error_or_no_matter_as_the_game_wants_it()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            var client = await host.ClientAsync();
            var chat = Chat(host, "slow", tokens: 10_000);
            var errors = new List<string>();
            chat.onError.AddListener(errors.Add);
            chat.Configure = settings => settings with { OnCrash = OnCrash.Fail };
            var asked = await BegunAsync(chat);
            await KillAsync(client, "slow");
            var error = await Assert.ThrowsAsync<WorkerCrashedException>(() => asked);
            Assert.Equal(error.Message, Assert.Single(errors));
            Assert.Empty(chat.History);

            (chat.Configure, chat.maxTokens) = (null, 40);
            asked = await BegunAsync(chat);
            await KillAsync(client, "slow");
            Assert.NotEmpty(await asked);
            Assert.Equal(2, chat.History.Count);
            await host.StopAsync();
        });
    }

    [Fact]
    public void A_hold_keeps_its_model_while_it_is_enabled()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            var client = await host.ClientAsync();
            var hold = Game.Add<VramdHold>(hold => (hold.host, hold.model) = (host, "talker"));
            await Bounds.Until("it is held", () => hold.Ready);
            Assert.Equal([Application.productName], (await client.ResidentAsync()).Single().Holders);
            hold.enabled = false;
            Assert.False(hold.Ready);
            await Bounds.Until(
                "it is not held", async () => (await client.ResidentAsync()).Single().Holders.Count == 0);

            var reasons = new List<string>();
            var wrong = Game.Add<VramdHold>(hold =>
            {
                (hold.host, hold.model) = (host, "none");
                hold.onEnded.AddListener(reasons.Add);
            });
            await Bounds.Until("the reason", () => reasons.Count == 1);
            Assert.Contains("none", reasons[0]);
            Assert.False(wrong.Ready);
            await host.StopAsync();
        });
    }

    [Fact]
    public void Vectors_come_in_the_order_of_their_texts_and_a_warmup_tells_how_far_it_is()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            var shares = new List<float>();
            await Chat(host, "talker", tokens: 1).WarmupAsync(new Progress<float>(shares.Add));
            var embedder = Game.Add<VramdEmbedder>(one => (one.host, one.model) = (host, "talker"));
            var vectors = await embedder.EmbedAsync(["one", "two", "one"]);
            Assert.Equal(3, vectors.Length);
            Assert.Equal(vectors[0], vectors[2]);
            Assert.Equal(1f, VramdEmbedder.Similarity(vectors[0], vectors[2]), 5);
            Assert.Equal(vectors[1], await embedder.EmbedAsync("two"));
            Assert.NotEmpty(shares);
            await host.StopAsync();
        });
    }

    private static VramdChat Chat(VramdHost host, string model, int tokens) => Game.Add<VramdChat>(chat =>
        (chat.host, chat.model, chat.maxTokens) = (host, model, tokens));

    // Completes with the first piece; the inner task is the whole reply.
    private static async Task<Task<string>> BegunAsync(VramdChat chat)
    {
        var first = new TaskCompletionSource();
        void Note(string piece) => first.TrySetResult();
        chat.onDelta.AddListener(Note);
        var reply = chat.ChatAsync("x");
        await Task.WhenAny(first.Task, reply);
        return reply;
    }

    private static Task IdleAsync(VramdClient client, string model) => Bounds.Until(
        $"{model} is idle",
        async () => (await client.ResidentAsync()).Single(one => one.Model == model).InFlight == 0);

    private static async Task KillAsync(VramdClient client, string model)
    {
        var resident = (await client.ResidentAsync()).Single(one => one.Model == model);
        Process.GetProcessById(resident.ProcessId!.Value).Kill();
    }
}
