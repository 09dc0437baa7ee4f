#nullable enable
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;
using UnityEngine.Events;

namespace Vramd.Unity
{
    /// <summary>A conversation with a model.</summary>
    [AddComponentMenu("vramd/Chat")]
    public sealed class VramdChat : VramdComponent
    {
        /// <summary>What the model is told before the conversation.</summary>
        [TextArea(3, 10)]
        public string systemPrompt = "";

        /// <summary>The most tokens of a reply; 0: no limit but the context.</summary>
        [Min(0)]
        public int maxTokens = 256;

        /// <summary>How much chance decides; 0: none, below 0: the model's own value.</summary>
        public float temperature = -1;

        /// <summary>The length of the model's context; 0: the configuration's.</summary>
        [Min(0)]
        public int contextTokens;

        /// <summary>Begins to load the model as soon as this component is enabled.</summary>
        public bool warmupAtOnce;

        /// <summary>Invoked with each piece of a reply.</summary>
        public UnityEvent<string> onDelta = new UnityEvent<string>();

        /// <summary>Invoked with the whole text so far, at most once a frame.</summary>
        public UnityEvent<string> onText = new UnityEvent<string>();

        /// <summary>Invoked with a whole reply.</summary>
        public UnityEvent<string> onReply = new UnityEvent<string>();

        /// <summary>Invoked with the reason that there is no reply, or no more of it.</summary>
        public UnityEvent<string> onError = new UnityEvent<string>();

        private readonly List<Turn> _history = new List<Turn>();
        private readonly StringBuilder _text = new StringBuilder();
        private CancellationTokenSource? _current;
        private bool _textChanged;

        /// <summary>Questions and their whole replies, without the system prompt.</summary>
        public IReadOnlyList<Turn> History => _history;

        /// <summary>Whether a reply is awaited or comes. Meanwhile no other question can be asked.</summary>
        public bool Busy => _current != null;

        /// <summary>Changes the settings of each question: for those that have no field here.</summary>
        public Func<AnswerSettings, AnswerSettings>? Configure { get; set; }

        /// <summary>Asks a question; for events such as that of an input field. The reply comes by the
        /// events.</summary>
        public async void Ask(string question)
        {
            try
            {
                await ChatAsync(question);
            }
            catch (OperationCanceledException)
            {
                // Cancel, or the end of this component.
            }
            catch (Exception error)
            {
                Debug.LogWarning($"vramd: {model}: {error.Message}", this);
            }
        }

        /// <summary>Asks a question; returns the whole reply. The events come meanwhile.</summary>
        /// <exception cref="InvalidOperationException">This component is <see cref="Busy"/>.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="VramdException">There is no reply, or no more of it; the history has neither.</exception>
        public async Task<string> ChatAsync(string question, CancellationToken cancellationToken = default)
        {
            var reply = new StringBuilder();
            await foreach (var piece in StreamAsync(question, cancellationToken))
            {
                reply.Append(piece);
            }
            return reply.ToString();
        }

        /// <summary>Asks a question, and gives the reply piece by piece. Breaking out of the loop ends it.</summary>
        /// <exception cref="InvalidOperationException">This component is <see cref="Busy"/>.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="VramdException">There is no reply, or no more of it; the history has neither.</exception>
        public async IAsyncEnumerable<string> StreamAsync(
            string question, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            if (Busy)
            {
                throw new InvalidOperationException($"{model} still replies: wait, or call Cancel first");
            }
            using var current = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Enabled);
            _current = current;
            _text.Clear();
            IAsyncEnumerator<ChatDelta>? deltas = null;
            try
            {
                while (true)
                {
                    string piece;
                    try
                    {
                        deltas ??= (await ClientAsync(current.Token))
                            .ChatAsync(model, Conversation(question), Settings(), current.Token)
                            .GetAsyncEnumerator(current.Token);
                        if (!await deltas.MoveNextAsync())
                        {
                            break;
                        }
                        piece = deltas.Current.Text;
                    }
                    catch (Exception error) when (!(error is OperationCanceledException))
                    {
                        Flush();
                        onError.Invoke(error.Message);
                        throw;
                    }
                    if (piece.Length > 0)
                    {
                        _text.Append(piece);
                        _textChanged = true;
                        onDelta.Invoke(piece);
                        yield return piece;
                    }
                }
                var reply = _text.ToString();
                _history.Add(Turn.User(question));
                _history.Add(Turn.Assistant(reply));
                Flush();
                onReply.Invoke(reply);
            }
            finally
            {
                _current = null;
                if (deltas != null)
                {
                    await deltas.DisposeAsync();
                }
            }
        }

        /// <summary>Ends the reply that comes; the history has neither it nor its question.</summary>
        public void Cancel() => _current?.Cancel();

        /// <summary>Loads the model, so that the first reply need not wait for it; tells the share that is
        /// read.</summary>
        public async Task WarmupAsync(IProgress<float>? progress = null, CancellationToken cancellationToken = default)
        {
            using var current = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Enabled);
            var client = await ClientAsync(current.Token);
            var steps = progress == null ? null : new Progress<LoadProgress>(step =>
            {
                if (step.Progress is double share)
                {
                    progress.Report((float)share);
                }
            });
            await client.LoadAsync(model, Settings(), progress: steps, cancellationToken: current.Token);
        }

        /// <summary>Forgets the conversation.</summary>
        public void ClearHistory() => _history.Clear();

        /// <inheritdoc/>
        protected override async void OnEnable()
        {
            base.OnEnable();
            if (warmupAtOnce)
            {
                try
                {
                    await WarmupAsync();
                }
                catch (OperationCanceledException)
                {
                    // Disabled again.
                }
                catch (Exception error)
                {
                    onError.Invoke(error.Message);
                }
            }
        }

        private void Update() => Flush();

        private void Flush()
        {
            if (_textChanged)
            {
                _textChanged = false;
                onText.Invoke(_text.ToString());
            }
        }

        private List<Turn> Conversation(string question)
        {
            var turns = new List<Turn>(_history.Count + 2);
            if (systemPrompt.Length > 0)
            {
                turns.Add(Turn.System(systemPrompt));
            }
            turns.AddRange(_history);
            turns.Add(Turn.User(question));
            return turns;
        }

        private AnswerSettings Settings()
        {
            var settings = new AnswerSettings
            {
                MaxTokens = maxTokens > 0 ? maxTokens : (int?)null,
                Temperature = temperature >= 0 ? temperature : (float?)null,
                ContextTokens = contextTokens > 0 ? contextTokens : (int?)null,
            };
            return Configure != null ? Configure(settings) : settings;
        }
    }
}
