using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

public sealed class AnswerTests(SimulatedSupervisor simulated)
{
    [Fact]
    public async Task A_chat_comes_piece_by_piece_and_says_in_its_last_how_it_ended()
    {
        using var client = await simulated.ClientAsync();
        var pieces = await Bounds.Until(
            ReadAsync(client.ChatAsync("talker", "Say hello.", new() { MaxTokens = 20 })), "an answer");
        Assert.NotEqual("", string.Concat(pieces.Select(piece => piece.Text)));
        Assert.Equal(20, pieces.Sum(piece => piece.TokenIds.Count));
        Assert.All(pieces.SkipLast(1), piece => Assert.Null(piece.Finish));
        var finish = pieces[^1].Finish!;
        Assert.Equal(FinishReason.Length, finish.Reason);
        Assert.Equal(20, finish.Usage.CompletionTokens);
        Assert.Equal("talker", finish.Timeline!.Model);
        Assert.NotNull(finish.Timeline.Decode);
    }

    [Fact]
    public async Task The_same_answer_is_made_again_when_it_is_read_again()
    {
        using var client = await simulated.ClientAsync();
        var answer = client.GenerateAsync("talker", "Once upon a", new() { MaxTokens = 3, Seed = 1 });
        var first = await Bounds.Until(answer.ToAnswerAsync(), "an answer");
        var second = await Bounds.Until(answer.ToAnswerAsync(), "another");
        Assert.NotEqual("", first.Text);
        Assert.Equal(first.Text, second.Text);
        Assert.NotSame(first.Finish, second.Finish);
    }

    [Fact]
    public async Task A_loop_that_is_left_ends_the_answer_in_the_worker()
    {
        using var client = await simulated.ClientAsync();
        await foreach (var piece in client.ChatAsync("left", "Count.", new() { MaxTokens = 4000 }))
        {
            if (piece.Text.Length > 0)
            {
                break;
            }
        }
        await Bounds.Until("the worker computes nothing more", async () =>
            (await client.ModelAsync("left")).Resident is { InFlight: 0 });
    }

    [Fact]
    public async Task A_cancelled_token_ends_an_answer_with_that_token()
    {
        using var client = await simulated.ClientAsync();
        using var source = new CancellationTokenSource();
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var piece in client.ChatAsync("talker", "Count.", new() { MaxTokens = 4000 }, source.Token))
            {
                await source.CancelAsync();
            }
        });
        Assert.Equal(source.Token, error.CancellationToken);
    }

    [Fact]
    public async Task A_piece_that_is_there_is_given_without_waiting()
    {
        using var client = await simulated.ClientAsync();
        AnswerSettings settings = new() { MaxTokens = 4000, EveryToken = true };
        await using var answer = client.ChatAsync("talker", "Count.", settings).GetAsyncEnumerator();
        Assert.True(await answer.MoveNextAsync());
        var atOnce = 0;
        await Bounds.Until("a piece was there before it was asked for", async () =>
        {
            var next = answer.MoveNextAsync();
            atOnce += next.IsCompletedSuccessfully ? 1 : 0;
            Assert.True(await next);
            return atOnce > 0;
        });
    }

    [Fact]
    public async Task An_answer_tells_what_it_waits_for()
    {
        using var client = await simulated.ClientAsync();
        var told = new List<Waiting>();
        var settings = new AnswerSettings { MaxTokens = 2, Waiting = new Now<Waiting>(told.Add) };
        await Bounds.Until(client.AnswerAsync("lazy", "Hello.", settings), "an answer");
        Assert.Contains(told, waiting => waiting.State is ModelState.Starting or ModelState.Loading);
        Assert.All(told, waiting => Assert.NotEqual("", waiting.Message));
    }

    [Fact]
    public async Task Half_a_character_is_refused_before_it_is_sent()
    {
        using var client = await simulated.ClientAsync();
        var error = Assert.Throws<InvalidRequestException>(() => client.ChatAsync("talker", "\ud800"));
        Assert.Equal("content", error.Field);
        Assert.Equal("", error.Code);
        Assert.Equal("max_tokens", Assert.Throws<InvalidRequestException>(
            () => client.GenerateAsync("talker", "", new() { MaxTokens = -1 })).Field);
    }

    [Fact]
    public async Task An_answer_that_takes_too_long_ends_with_what_came()
    {
        using var client = await simulated.ClientAsync();
        // Of this time a busy machine may take most before the first token is here.
        var settings = new AnswerSettings { MaxTokens = 1000, Timeout = TimeSpan.FromSeconds(8) };
        await client.LoadAsync("slow");
        var error = await Assert.ThrowsAsync<DeadlinePassedException>(() => client.AnswerAsync("slow", "Count.", settings));
        Assert.NotEqual("", error.Received);
    }

    private static async Task<List<ChatDelta>> ReadAsync(IAsyncEnumerable<ChatDelta> answer)
    {
        var pieces = new List<ChatDelta>();
        await foreach (var piece in answer)
        {
            pieces.Add(piece);
        }
        return pieces;
    }
}
