using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf.Collections;

namespace Vramd;

/// <summary>Checks the arguments of calls, and makes messages of them. Pure.</summary>
internal static class Requests
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    /// <summary>The text itself.</summary>
    /// <exception cref="InvalidRequestException">It has half a surrogate pair, so it cannot be written in UTF-8.</exception>
    internal static string Text(string field, string text)
    {
        if (text is null)
        {
            throw new ArgumentNullException(field);
        }

        try
        {
            _ = Strict.GetByteCount(text);
        }
        catch (EncoderFallbackException)
        {
            throw Failures.Invalid(field, "it is no UTF-8 text");
        }

        return text;
    }

    internal static string Model(string model) => Text("model", model);

    /// <summary>A number that the wire has without a sign.</summary>
    /// <exception cref="InvalidRequestException">It is negative.</exception>
    internal static uint Number(string field, int number) => number < 0 ? throw Negative(field, number) : (uint)number;

    /// <inheritdoc cref="Number(string, int)"/>
    internal static ulong Number(string field, long number) => number < 0 ? throw Negative(field, number) : (ulong)number;

    internal static V1.ChatRequest Chat(string model, IEnumerable<Turn> conversation, AnswerSettings settings)
    {
        var request = new V1.ChatRequest { Model = Model(model) };
        foreach (var turn in conversation ?? throw new ArgumentNullException(nameof(conversation)))
        {
            var message = new V1.ChatMessage { Role = Text("role", turn.Role) };
            Add(message.Parts, "content", turn.Text);
            request.Messages.Add(message);
        }

        settings.Fill(request);
        return request;
    }

    internal static V1.GenerateRequest Generate(string model, string prompt, AnswerSettings settings)
    {
        var request = new V1.GenerateRequest { Model = Model(model) };
        Add(request.Prompt, "prompt", prompt);
        settings.Fill(request);
        return request;
    }

    internal static V1.EmbedRequest Embed(string model, IEnumerable<string> texts, AskSettings settings)
    {
        var request = new V1.EmbedRequest { Model = Model(model) };
        foreach (var text in texts ?? throw new ArgumentNullException(nameof(texts)))
        {
            var input = new V1.EmbedInput();
            Add(input.Parts, "inputs", text);
            request.Inputs.Add(input);
        }

        settings.Fill(request);
        return request;
    }

    private static void Add(RepeatedField<V1.ContentPart> parts, string field, string text)
    {
        if (Text(field, text).Length > 0)
        {
            parts.Add(new V1.ContentPart { Text = text });
        }
    }

    private static InvalidRequestException Negative(string field, long number) =>
        Failures.Invalid(field, $"{number} is negative");
}
