using System;
using Microsoft.Extensions.AI;

namespace Vramd;

/// <summary>Makes updates of the pieces of an answer. Pure.</summary>
internal static class Updates
{
    /// <summary>The last update has how the answer ended, what it took, and the model that answered.</summary>
    internal static ChatResponseUpdate From(ChatDelta delta, string model, string id, DateTimeOffset began)
    {
        var update = new ChatResponseUpdate
        {
            Role = ChatRole.Assistant,
            ResponseId = id,
            MessageId = id,
            ModelId = model,
            CreatedAt = began,
            RawRepresentation = delta,
        };
        if (delta.Text.Length > 0)
        {
            update.Contents.Add(new TextContent(delta.Text) { RawRepresentation = delta });
        }

        if (delta.Finish is { } finish)
        {
            update.FinishReason = Reason(finish.Reason);
            update.Contents.Add(new UsageContent(Details(finish.Usage)) { RawRepresentation = finish });
            if (finish.Timeline is { Model.Length: > 0 } timeline)
            {
                update.ModelId = timeline.Model; // of "task:code", the one that was chosen
            }
        }

        return update;
    }

    internal static UsageDetails Details(Usage usage) => new()
    {
        InputTokenCount = usage.PromptTokens,
        CachedInputTokenCount = usage.CachedPromptTokens,
        OutputTokenCount = usage.CompletionTokens,
        TotalTokenCount = (long)usage.PromptTokens + usage.CompletionTokens,
    };

    private static ChatFinishReason? Reason(FinishReason reason) => reason switch
    {
        FinishReason.Stop => ChatFinishReason.Stop,
        FinishReason.Length => ChatFinishReason.Length,
        FinishReason.Unspecified => null,
        _ => new ChatFinishReason(reason.ToString()), // of a supervisor that is newer than this
    };
}
