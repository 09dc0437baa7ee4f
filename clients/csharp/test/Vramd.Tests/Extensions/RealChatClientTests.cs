using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests.Extensions;

/// <summary>The adapters of Microsoft.Extensions.AI on real models.</summary>
public sealed class RealChatClientTests(DemoSupervisor demo, SimulatedSupervisor simulated)
{
    private static readonly ChatOptions Greedy = new()
    {
        Temperature = 0,
        MaxOutputTokens = 24,
        AdditionalProperties = new() { ["every_token"] = true },
    };

    [Fact]
    public async Task Streamed_and_whole_answers_agree_with_the_clients()
    {
        await using var client = VramdClient.Connect((await demo.StartedAsync()).Folder);
        var chat = client.AsIChatClient("companion");
        var whole = await Bounds.Until(chat.GetResponseAsync("Do you like trains?", Greedy), "a whole answer");
        List<ChatResponseUpdate> updates = [];
        await foreach (var update in chat.GetStreamingResponseAsync("Do you like trains?", Greedy))
        {
            updates.Add(update);
        }

        var streamed = updates.ToChatResponse();
        AnswerSettings greedy = new() { Temperature = 0, MaxTokens = 24 };
        var plain = await client.AnswerAsync("companion", "Do you like trains?", greedy);
        Assert.NotEmpty(plain.Text);
        Assert.Equal(plain.Text, whole.Text);
        Assert.Equal(plain.Text, streamed.Text);
        Assert.True(updates.Count > 2, "it came in pieces");
        foreach (var response in new[] { whole, streamed })
        {
            Assert.Equal(plain.Finish.Reason.ToString().ToLowerInvariant(), response.FinishReason?.Value);
            Assert.Equal(plain.Finish.Usage.CompletionTokens, response.Usage?.OutputTokenCount);
            Assert.Equal(plain.Finish.Usage.PromptTokens, response.Usage?.InputTokenCount);
            Assert.Equal("companion", response.ModelId);
        }
    }

    [Fact]
    public async Task Embeddings_are_those_of_the_client()
    {
        await using var client = VramdClient.Connect((await simulated.StartedAsync()).Folder);
        string[] texts = ["a cat", "a dog"];
        var generated = await Bounds.Until(
            client.AsIEmbeddingGenerator("talker").GenerateAsync(texts), "two vectors");
        var plain = await client.EmbedAsync("talker", texts);
        Assert.Equal(
            plain.Vectors.Select(static one => one.ToArray()), generated.Select(static one => one.Vector.ToArray()));
        Assert.Equal(plain.Usage.PromptTokens, generated.Usage?.InputTokenCount);
    }

    [Fact]
    public async Task Cancelling_ends_the_answer_in_the_worker()
    {
        await using var client = VramdClient.Connect((await simulated.StartedAsync()).Folder);
        using var cancel = new CancellationTokenSource();
        var chat = client.AsIChatClient("chatted");
        var read = Task.Run(async () =>
        {
            await foreach (var update in chat.GetStreamingResponseAsync("Hi", cancellationToken: cancel.Token))
            {
                await cancel.CancelAsync();
            }
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Bounds.Until(read, "the end of the answer"));
        await Bounds.Until(
            "nothing runs on the model",
            async () => (await client.ModelAsync("chatted")).Resident?.InFlight == 0);
    }

    [Fact]
    public async Task Logging_and_telemetry_wrap_it()
    {
        await using var client = VramdClient.Connect((await demo.StartedAsync()).Folder);
        using var log = new LogLines();
        const string source = "Vramd.Tests.Telemetry";
        var spans = new ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = one => one.Name == source,
            Sample = static (ref _) => ActivitySamplingResult.AllData,
            ActivityStopped = spans.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        using var chat = client.AsIChatClient("companion").AsBuilder()
            .UseLogging(log).UseOpenTelemetry(sourceName: source).Build();
        var response = await Bounds.Until(chat.GetResponseAsync("Hi", Greedy), "an answer");
        var span = Assert.Single(spans);
        Assert.Equal("chat companion", span.DisplayName);
        Assert.Equal("vramd", span.GetTagItem("gen_ai.provider.name"));
        Assert.Equal(client.Address, $"{span.GetTagItem("server.address")}:{span.GetTagItem("server.port")}");
        Assert.Equal((int)response.Usage!.OutputTokenCount!, span.GetTagItem("gen_ai.usage.output_tokens"));
        Assert.Contains(
            log.Lines, static line => line.Contains("GetResponseAsync completed", StringComparison.Ordinal));
        Assert.Same(client, chat.GetService(typeof(VramdClient)));
    }

    [Fact]
    public async Task A_failure_is_the_exception_of_the_client()
    {
        await using var client = VramdClient.Connect((await simulated.StartedAsync()).Folder);
        var error = await Assert.ThrowsAsync<NotFoundException>(
            () => client.AsIChatClient("stranger").GetResponseAsync("Hi"));
        Assert.Equal("stranger", error.Model);
    }

    /// <summary>Keeps what is logged.</summary>
    private sealed class LogLines : ILoggerFactory, ILogger
    {
        public ConcurrentQueue<string> Lines { get; } = new();

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) => Lines.Enqueue(formatter(state, exception));

        public void Dispose()
        {
        }
    }
}
