using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using Grpc.Core;

#pragma warning disable RS0026 // No turns are a text, so a call with optional arguments left out means one overload.

namespace Vramd;

// Answers of models.
public partial class VramdClient
{
    /// <summary>
    /// Answers a conversation, rendered with the model's own chat template. Loads the model if need be.
    /// </summary>
    /// <remarks>
    /// <para>The call begins when the answer is read, and each time that it is read. Leaving the loop ends the answer in
    /// the worker. If the model's process dies, the answer goes on in another one, behind the text that came; with
    /// <see cref="OnCrash.Fail"/> it ends instead. What came before an error is in
    /// <see cref="VramdException.Received"/>.</para>
    /// </remarks>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="conversation">The turns, oldest first.</param>
    /// <param name="settings">How the answer is made; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the answer.</param>
    /// <returns>The answer piece by piece: new text only, and the end in the last piece.</returns>
    /// <exception cref="PromptTooLongException">
    /// The conversation is longer than the context, or than the supervisor takes.
    /// </exception>
    /// <exception cref="ChatTemplateUnusableException">
    /// The model has no chat template, or it refuses these turns.
    /// </exception>
    /// <exception cref="UnsupportedException">
    /// The model gives embeddings only, or computes what is no number.
    /// </exception>
    /// <exception cref="QueueFullException">Too many requests wait.</exception>
    /// <exception cref="WorkerCrashedException">
    /// The model's process ended, and the answer could not go on in another one.
    /// </exception>
    /// <exception cref="UnloadedException">The model was unloaded meanwhile.</exception>
    /// <exception cref="VramdException">What <see cref="LoadAsync"/> throws, where the model has to be loaded first.</exception>
    public virtual IAsyncEnumerable<ChatDelta> ChatAsync(
        string model,
        IEnumerable<Turn> conversation,
        AnswerSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        settings ??= new AnswerSettings();
        var request = Requests.Chat(model, conversation, settings);
        return ReadAsync(
            (link, options) => link.Inference.Chat(request, options),
            static reply => reply.Waiting,
            Reading.Read,
            settings,
            cancellationToken);
    }

    /// <summary>Answers a question: a conversation of one turn.</summary>
    /// <inheritdoc cref="ChatAsync(string, IEnumerable{Turn}, AnswerSettings, CancellationToken)"/>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="question">What the user says.</param>
    /// <param name="settings">How the answer is made; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the answer.</param>
    public virtual IAsyncEnumerable<ChatDelta> ChatAsync(
        string model,
        string question,
        AnswerSettings? settings = null,
        CancellationToken cancellationToken = default) =>
        ChatAsync(model, new[] { Turn.User(question) }, settings, cancellationToken);

    /// <summary>
    /// Continues a prompt, without a chat template. Loads the model if need be. Reading, ending and failing are those of
    /// <see cref="ChatAsync(string, IEnumerable{Turn}, AnswerSettings, CancellationToken)"/>.
    /// </summary>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="prompt">The text to go on with.</param>
    /// <param name="settings">How the answer is made; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the answer.</param>
    /// <returns>The answer piece by piece: new text only, and the end in the last piece.</returns>
    /// <exception cref="VramdException">What ChatAsync throws, except ChatTemplateUnusableException.</exception>
    public virtual IAsyncEnumerable<ChatDelta> GenerateAsync(
        string model,
        string prompt,
        AnswerSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        settings ??= new AnswerSettings();
        var request = Requests.Generate(model, prompt, settings);
        return ReadAsync(
            (link, options) => link.Inference.Generate(request, options),
            static reply => reply.Waiting,
            Reading.Read,
            settings,
            cancellationToken);
    }

    /// <summary>The whole answer of a conversation; waits for its end.</summary>
    /// <inheritdoc cref="ChatAsync(string, IEnumerable{Turn}, AnswerSettings, CancellationToken)"/>
    /// <returns>The text, and how the answer ended.</returns>
    public virtual Task<Answer> AnswerAsync(
        string model,
        IEnumerable<Turn> conversation,
        AnswerSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        settings ??= new AnswerSettings();
        settings = settings with { Timeout = settings.Timeout ?? _options.Timeout };
        return ChatAsync(model, conversation, settings, cancellationToken).ToAnswerAsync(CancellationToken.None);
    }

    /// <summary>The whole answer of a question; waits for its end.</summary>
    /// <inheritdoc cref="ChatAsync(string, string, AnswerSettings, CancellationToken)"/>
    /// <returns>The text, and how the answer ended.</returns>
    public virtual Task<Answer> AnswerAsync(
        string model,
        string question,
        AnswerSettings? settings = null,
        CancellationToken cancellationToken = default) =>
        AnswerAsync(model, new[] { Turn.User(question) }, settings, cancellationToken);

    /// <summary>One vector per text, in the order given. Loads the model if need be.</summary>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="texts">At most 1024.</param>
    /// <param name="settings">How the call waits; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="PromptTooLongException">
    /// A text is longer than the context, or than the supervisor takes.
    /// </exception>
    /// <exception cref="UnsupportedException">The model gives no embeddings, or computes what is no number.</exception>
    /// <exception cref="QueueFullException">Too many requests wait.</exception>
    /// <exception cref="WorkerCrashedException">The model's process ended.</exception>
    /// <exception cref="UnloadedException">The model was unloaded meanwhile.</exception>
    /// <exception cref="VramdException">What <see cref="LoadAsync"/> throws, where the model has to be loaded first.</exception>
    public virtual async Task<Embeddings> EmbedAsync(
        string model,
        IEnumerable<string> texts,
        AskSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        var request = Requests.Embed(model, texts, settings ?? new AskSettings());
        var timeout = settings?.Timeout ?? _options.Timeout;
        return Reading.Read(await Wire.AskAsync(
            (link, options) => link.Inference.EmbedAsync(request, options), timeout, cancellationToken)
            .ConfigureAwait(false));
    }

    /// <summary>Token ids of a text. Loads the model if need be.</summary>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="text">The text.</param>
    /// <param name="addSpecial">Add what the model puts around a text by itself.</param>
    /// <param name="parseSpecial">Read the names of control tokens in the text as those tokens.</param>
    /// <param name="settings">How the model is loaded; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="QueueFullException">Too many requests wait.</exception>
    /// <exception cref="WorkerCrashedException">The model's process ended.</exception>
    /// <exception cref="UnloadedException">The model was unloaded meanwhile.</exception>
    /// <exception cref="VramdException">What <see cref="LoadAsync"/> throws, where the model has to be loaded first.</exception>
    public virtual Task<IReadOnlyList<int>> TokenizeAsync(
        string model,
        string text,
        bool addSpecial = false,
        bool parseSpecial = false,
        LoadSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        var request = new V1.TokenizeRequest
        {
            Model = Requests.Model(model),
            Text = Requests.Text("text", text),
            AddSpecial = addSpecial,
            ParseSpecial = parseSpecial,
            Load = settings?.Load(),
        };
        return AskAsync<V1.TokenizeResponse, IReadOnlyList<int>>(
            (link, options) => link.Inference.TokenizeAsync(request, options),
            static reply => reply.TokenIds.ToArray(),
            cancellationToken);
    }

    /// <summary>Text of token ids; bytes that are no UTF-8 come as U+FFFD. Loads the model if need be.</summary>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="tokenIds">The ids.</param>
    /// <param name="settings">How the model is loaded; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="VramdException">What <see cref="TokenizeAsync"/> throws.</exception>
    public virtual Task<string> DetokenizeAsync(
        string model,
        IEnumerable<int> tokenIds,
        LoadSettings? settings = null,
        CancellationToken cancellationToken = default)
    {
        var request = new V1.DetokenizeRequest { Model = Requests.Model(model), Load = settings?.Load() };
        request.TokenIds.AddRange(tokenIds ?? throw new ArgumentNullException(nameof(tokenIds)));
        return AskAsync(
            (link, options) => link.Inference.DetokenizeAsync(request, options),
            static reply => reply.Text,
            cancellationToken);
    }

    private async IAsyncEnumerable<ChatDelta> ReadAsync<TReply>(
        Func<Link, CallOptions, AsyncServerStreamingCall<TReply>> begin,
        Func<TReply, V1.Waiting?> waiting,
        Func<TReply, ChatDelta> read,
        AnswerSettings settings,
        [EnumeratorCancellation] CancellationToken token)
        where TReply : class
    {
        var replies = Wire.Stream(begin, settings.Timeout, reply => waiting(reply) is not null, token);
        var answer = new AnswerReader<TReply>(replies, waiting, read, settings.Waiting);
        await using (replies.ConfigureAwait(false))
        {
            while (await answer.NextAsync().ConfigureAwait(false) is { } delta)
            {
                yield return delta;
            }
        }
    }
}
