using System;
using System.Collections.Generic;
using System.Linq;
using Microsoft.Extensions.AI;

namespace Vramd;

/// <summary>Makes calls of requests to an <see cref="IChatClient"/>; what vramd cannot do is refused. Pure.</summary>
internal static class Requests
{
    private static readonly AdditionalPropertiesDictionary Nothing = new();

    /// <summary>The turns of a conversation, behind the instructions if there are any.</summary>
    /// <exception cref="NotSupportedException">A message has content that is no text.</exception>
    internal static IReadOnlyList<Turn> Conversation(IEnumerable<ChatMessage> messages, string? instructions)
    {
        var turns = new List<Turn>();
        if (!string.IsNullOrEmpty(instructions))
        {
            turns.Add(Turn.System(instructions!));
        }

        foreach (var message in messages)
        {
            // What an earlier answer took is no part of the conversation.
            var contents = message.Contents.Where(static content => content is not UsageContent).ToList();
            if (contents.FirstOrDefault(static content => content is not TextContent) is { } other)
            {
                throw Refusal($"{other.GetType().Name} in a message of {message.Role.Value}: its models take text only");
            }

            if (contents.Count > 0 || message.Contents.Count == 0)
            {
                var text = string.Concat(contents.Cast<TextContent>().Select(static content => content.Text));
                turns.Add(new Turn(message.Role.Value, text));
            }
        }

        return turns;
    }

    /// <summary>The settings of an answer: the options, over those of their own factory or the defaults.</summary>
    /// <exception cref="NotSupportedException">An option is set that vramd does not have.</exception>
    internal static AnswerSettings Settings(AnswerSettings defaults, IChatClient client, ChatOptions? options)
    {
        if (options is null)
        {
            return defaults;
        }

        Refuse(options);
        var settings = options.RawRepresentationFactory?.Invoke(client) as AnswerSettings ?? defaults;
        settings = settings with
        {
            Temperature = options.Temperature ?? settings.Temperature,
            TopP = options.TopP ?? settings.TopP,
            TopK = options.TopK ?? settings.TopK,
            FrequencyPenalty = options.FrequencyPenalty ?? settings.FrequencyPenalty,
            PresencePenalty = options.PresencePenalty ?? settings.PresencePenalty,
            Seed = Seed(options.Seed) ?? settings.Seed,
            MaxTokens = options.MaxOutputTokens ?? settings.MaxTokens,
            Stop = options.StopSequences is { Count: > 0 } stop ? stop.ToArray() : settings.Stop,
        };
        foreach (var (name, value) in options.AdditionalProperties ?? Nothing)
        {
            settings = NamedSettings.With(settings, name, value);
        }

        return settings;
    }

    /// <summary>The settings of a call for vectors: the options, over those of their own factory or the defaults.</summary>
    /// <exception cref="NotSupportedException">An option is set that vramd does not have.</exception>
    internal static AskSettings Settings(
        AskSettings defaults, IEmbeddingGenerator generator, EmbeddingGenerationOptions? options)
    {
        if (options is null)
        {
            return defaults;
        }

        if (options.Dimensions is not null)
        {
            throw Refusal("EmbeddingGenerationOptions.Dimensions: a model gives vectors of its size");
        }

        var settings = options.RawRepresentationFactory?.Invoke(generator) as AskSettings ?? defaults;
        foreach (var (name, value) in options.AdditionalProperties ?? Nothing)
        {
            settings = NamedSettings.With(settings, name, value);
        }

        return settings;
    }

    internal static NotSupportedException UnknownProperty(string name) =>
        Refusal($"the additional property {name}: it is no setting of this call");

    private static void Refuse(ChatOptions options)
    {
        if (options.Tools is { Count: > 0 })
        {
            var names = string.Join(", ", options.Tools.Select(static tool => tool.Name));
            throw Refusal($"tools (ChatOptions.Tools: {names})");
        }

        if (options.ToolMode is RequiredChatToolMode)
        {
            throw Refusal("tools (ChatOptions.ToolMode)");
        }

        if (options.ResponseFormat is not null and not ChatResponseFormatText)
        {
            throw Refusal("JSON formats (ChatOptions.ResponseFormat): its models answer in text");
        }

        if (options.Reasoning is not null)
        {
            throw Refusal("ChatOptions.Reasoning");
        }

        if (options.ConversationId is not null)
        {
            throw Refusal("ChatOptions.ConversationId: it keeps no conversations, so give all messages");
        }

#pragma warning disable MEAI001 // It is experimental; whoever sets it gets to know that it is refused.
        if (options.ContinuationToken is not null)
#pragma warning restore MEAI001
        {
            throw Refusal("ChatOptions.ContinuationToken");
        }
    }

    private static uint? Seed(long? seed) => seed is null or (>= 0 and <= uint.MaxValue)
        ? (uint?)seed
        : throw new InvalidRequestException(
            Reasons.FieldInvalid,
            $"seed: must be 0 to {uint.MaxValue}, not {seed}",
            new Dictionary<string, string> { ["field"] = "seed" });

    private static NotSupportedException Refusal(string what) => new($"vramd does not support {what}");
}
