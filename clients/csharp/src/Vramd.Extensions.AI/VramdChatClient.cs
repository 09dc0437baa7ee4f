using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;

namespace Vramd;

/// <summary>A model as <see cref="IChatClient"/>. It owns nothing: its client is the caller's.</summary>
internal sealed class VramdChatClient : IChatClient
{
    private readonly VramdClient _client;
    private readonly string _model;
    private readonly AnswerSettings _defaults;

    internal VramdChatClient(VramdClient client, string model, AnswerSettings? defaults)
    {
        _client = client;
        _model = model;
        _defaults = defaults ?? new AnswerSettings();
    }

    public void Dispose()
    {
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        Provider.Service(this, _client, serviceType, serviceKey)
        ?? (serviceKey is null && serviceType == typeof(ChatClientMetadata)
            ? new ChatClientMetadata(Provider.Name, Provider.Uri(_client), _model)
            : null);

    public async Task<ChatResponse> GetResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        // One way to an answer, so that both agree.
        var updates = new List<ChatResponseUpdate>();
        var answer = GetStreamingResponseAsync(messages, options, cancellationToken);
        await foreach (var update in answer.ConfigureAwait(false))
        {
            updates.Add(update);
        }

        var response = updates.ToChatResponse();
        response.RawRepresentation = updates[^1].RawRepresentation;
        return response;
    }

    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        Provider.NotNull(messages, nameof(messages));
        // Here, and not while the answer is read: a call that cannot be made is refused at once.
        var conversation = Requests.Conversation(messages, options?.Instructions);
        var settings = Requests.Settings(_defaults, this, options);
        return AnswerAsync(options?.ModelId ?? _model, conversation, settings, cancellationToken);
    }

    private async IAsyncEnumerable<ChatResponseUpdate> AnswerAsync(
        string model,
        IReadOnlyList<Turn> conversation,
        AnswerSettings settings,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var id = Guid.NewGuid().ToString("N");
        var began = DateTimeOffset.UtcNow;
        var deltas = _client.ChatAsync(model, conversation, settings, cancellationToken);
        await foreach (var delta in deltas.ConfigureAwait(false))
        {
            yield return Updates.From(delta, model, id, began);
        }
    }
}
