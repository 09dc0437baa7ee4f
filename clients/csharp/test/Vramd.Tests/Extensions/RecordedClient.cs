using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd.Tests.Extensions;

/// <summary>A client without a supervisor: it remembers the last call, and answers with what a test gives it.</summary>
internal sealed class RecordedClient : VramdClient
{
    public string Model { get; private set; } = "";

    public IReadOnlyList<Turn> Conversation { get; private set; } = [];

    public AskSettings Settings { get; private set; } = new();

    public List<int> Batches { get; } = [];

    public IReadOnlyList<ChatDelta> Deltas { get; set; } = [new ChatDelta { Finish = new Finish() }];

    public override async IAsyncEnumerable<ChatDelta> ChatAsync(
        string model,
        IEnumerable<Turn> conversation,
        AnswerSettings? settings = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        (Model, Conversation, Settings) = (model, conversation.ToArray(), settings!);
        foreach (var delta in Deltas)
        {
            await Task.Yield();
            yield return delta;
        }
    }

    /// <summary>Each vector is the number of its text.</summary>
    public override Task<Embeddings> EmbedAsync(
        string model,
        IEnumerable<string> texts,
        AskSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        var all = texts.ToArray();
        (Model, Settings) = (model, settings!);
        Batches.Add(all.Length);
        return Task.FromResult(new Embeddings
        {
            Model = model,
            Dimensions = 1,
            Vectors = [.. all.Select(static text => new ReadOnlyMemory<float>([float.Parse(text, null)]))],
            Usage = new Usage { PromptTokens = all.Length },
        });
    }
}
