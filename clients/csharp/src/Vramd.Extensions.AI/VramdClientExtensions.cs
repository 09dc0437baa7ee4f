using System;
using Microsoft.Extensions.AI;

namespace Vramd;

/// <summary>Models of vramd for programs that are written against Microsoft.Extensions.AI.</summary>
public static class VramdClientExtensions
{
    /// <summary>Gives a model as <see cref="IChatClient"/>.</summary>
    /// <remarks>
    /// <para>
    /// Nothing is called, and disposing of it does nothing: the client stays the caller's. Its calls throw
    /// <see cref="VramdException"/> and its subclasses, as those of <see cref="VramdClient"/> do.
    /// </para>
    /// <para>
    /// The settings of an answer are <paramref name="defaults"/>, or what
    /// <see cref="ChatOptions.RawRepresentationFactory"/> returns if that is an <see cref="AnswerSettings"/>; over them
    /// come Temperature, TopP, TopK, Seed, FrequencyPenalty, PresencePenalty, MaxOutputTokens and StopSequences of the
    /// options, and over those AdditionalProperties, by the names of the configuration: <c>min_p</c>,
    /// <c>repeat_penalty</c>, <c>context</c>, <c>keep_alive_s</c> and so on. Instructions become a first system
    /// message. ModelId is that of another model, or <c>task:NAME</c>; the last update names the model that answered.
    /// </para>
    /// <para>
    /// The last update has the finish reason and the usage; its RawRepresentation is a <see cref="ChatDelta"/>, whose
    /// <see cref="ChatDelta.Finish"/> tells the times too. Names of authors and ids of messages are not sent: no
    /// model's template is asked for them.
    /// </para>
    /// </remarks>
    /// <param name="client">The supervisor's client.</param>
    /// <param name="model">Id of a model, or <c>task:NAME</c>.</param>
    /// <param name="defaults">The settings of an answer where the options of a call do not say.</param>
    /// <exception cref="NotSupportedException">
    /// A call asks for what vramd cannot do: tools, JSON formats, content that is no text, reasoning options, a
    /// conversation that is kept elsewhere, or an additional property that is no setting.
    /// </exception>
    public static IChatClient AsIChatClient(this VramdClient client, string model, AnswerSettings? defaults = null)
    {
        Provider.NotNull(client, nameof(client));
        Provider.NotNull(model, nameof(model));
        return new VramdChatClient(client, model, defaults);
    }

    /// <summary>Gives a model as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/>.</summary>
    /// <remarks>
    /// Nothing is called, and disposing of it does nothing. More than 1,024 texts are several calls, one after the
    /// other. Settings are taken as by <see cref="AsIChatClient"/>.
    /// </remarks>
    /// <param name="client">The supervisor's client.</param>
    /// <param name="model">Id of a model, or <c>task:NAME</c>.</param>
    /// <param name="defaults">The settings of a call where its options do not say.</param>
    /// <exception cref="NotSupportedException">
    /// A call asks for a number of dimensions, or has an additional property that is no setting.
    /// </exception>
    public static IEmbeddingGenerator<string, Embedding<float>> AsIEmbeddingGenerator(
        this VramdClient client, string model, AskSettings? defaults = null)
    {
        Provider.NotNull(client, nameof(client));
        Provider.NotNull(model, nameof(model));
        return new VramdEmbeddingGenerator(client, model, defaults);
    }
}
