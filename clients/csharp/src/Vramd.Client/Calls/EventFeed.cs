using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>
/// Events as they come. Reading waits for the next one, and goes on where it was left; disposing ends the feed.
/// </summary>
/// <remarks>
/// One reader at a time. Reading throws <see cref="VramdException"/> when the supervisor ends; that of a feed which was not
/// read for half a minute, though it was full, <see cref="CancelledException"/>.
/// </remarks>
public class EventFeed : IAsyncEnumerable<VramdEvent>, IAsyncDisposable
{
    private readonly ReplyStream<V1.WatchEventsResponse>? _events;

    internal EventFeed(ReplyStream<V1.WatchEventsResponse> events) => _events = events;

    /// <summary>Makes a feed without a supervisor, for a class that overrides the reading.</summary>
    protected EventFeed()
    {
    }

    /// <inheritdoc/>
    public virtual async IAsyncEnumerator<VramdEvent> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        while (await _events!.MoveNextAsync(cancellationToken).ConfigureAwait(false))
        {
            yield return Reading.Read(_events.Current);
        }
    }

    /// <summary>Ends the feed. Idempotent.</summary>
    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return _events?.DisposeAsync() ?? default;
    }
}
