using System;
#if NET
using System.Runtime.CompilerServices;
#endif
using System.Text;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>Reads an answer, and remembers its text for the exception that it may end with.</summary>
internal sealed class AnswerReader<TReply>
    where TReply : class
{
    private readonly ReplyStream<TReply> _replies;
    private readonly Func<TReply, V1.Waiting?> _waiting;
    private readonly Func<TReply, ChatDelta> _read;
    private readonly IProgress<Waiting>? _progress;
    private readonly StringBuilder _received = new();
    private bool _isFinished;

    internal AnswerReader(
        ReplyStream<TReply> replies,
        Func<TReply, V1.Waiting?> waiting,
        Func<TReply, ChatDelta> read,
        IProgress<Waiting>? progress)
    {
        _replies = replies;
        _waiting = waiting;
        _read = read;
        _progress = progress;
    }

    /// <summary>The next piece; null at the end. The last one has the end, and what the supervisor says with that.</summary>
#if NET
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))] // it waits for nearly each piece
#endif
    internal async ValueTask<ChatDelta?> NextAsync()
    {
        try
        {
            while (await _replies.MoveNextAsync().ConfigureAwait(false))
            {
                if (_waiting(_replies.Current) is { } waiting)
                {
                    _progress?.Report(Reading.Read(waiting));
                    continue;
                }

                var delta = _read(_replies.Current);
                _received.Append(delta.Text);
                return delta.Finish is null ? delta : await WithTimelineAsync(delta, delta.Finish).ConfigureAwait(false);
            }

            return _isFinished ? null : throw Failures.Unexplained("the answer");
        }
        catch (VramdException failure)
        {
            failure.Received = _received.ToString();
            throw;
        }
    }

    private async ValueTask<ChatDelta> WithTimelineAsync(ChatDelta last, Finish finish)
    {
        _isFinished = true;
        while (await _replies.MoveNextAsync().ConfigureAwait(false))
        {
            // Nothing comes behind the end; the trailing metadata is there when the call is over.
        }

        var timeline = Reading.ReadTimeline(_replies.Trailers?.GetValue(Reading.TimelineKey));
        return last with { Finish = finish with { Timeline = timeline } };
    }
}
