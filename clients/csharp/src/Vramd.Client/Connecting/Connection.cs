using System;
using System.Threading;
using System.Threading.Tasks;
using Grpc.Core;

namespace Vramd;

/// <summary>
/// The way to a supervisor: a channel, which is replaced when another supervisor is there. Safe for all threads.
/// </summary>
internal sealed class Connection : IDisposable
{
    private readonly object _changing = new();
    private readonly Func<Place> _look;
    private readonly VramdClientOptions _options;
    private readonly CancellationTokenSource _closing = new();
    private Place? _place;
    private Link? _link;
    private bool _closed;

    /// <param name="look">Finds the supervisor, again when it may have moved.</param>
    /// <param name="options">How calls are made.</param>
    /// <param name="isLater">It is looked for when it is needed first, and not here.</param>
    /// <exception cref="SupervisorNotFoundException">There is none.</exception>
    internal Connection(Func<Place> look, VramdClientOptions options, bool isLater = false)
    {
        _look = look;
        _options = options;
        _place = isLater ? null : look();
    }

    /// <summary>The place of the supervisor that was found last.</summary>
    internal Place Place
    {
        get
        {
            lock (_changing)
            {
                return _place ??= _look();
            }
        }
    }

    /// <summary>Ends what runs and what waits. Idempotent.</summary>
    public void Dispose()
    {
        Link? link;
        lock (_changing)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            link = _link;
        }

        _closing.Cancel();
        link?.Dispose();
    }

    /// <summary>Makes a call that has one answer.</summary>
    /// <exception cref="VramdException">It failed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    internal async Task<TReply> AskAsync<TReply>(
        Func<Link, CallOptions, AsyncUnaryCall<TReply>> call, TimeSpan? timeout, CancellationToken token)
    {
        var attempts = NewAttempts(timeout);
        while (true)
        {
            var link = Open();
            try
            {
                using var running = call(link, link.Options(attempts.Left, token));
                return await running.ResponseAsync.ConfigureAwait(false);
            }
            catch (Exception error) when (IsOfChannel(error))
            {
                var failure = Explain(error, link, token);
                if (!await GoesOnAsync(failure, link, attempts, token).ConfigureAwait(false))
                {
                    throw failure;
                }
            }
        }
    }

    /// <summary>Begins a call that has many answers.</summary>
    /// <param name="begin">Makes the call.</param>
    /// <param name="timeout">The longest that it may take; null: no limit.</param>
    /// <param name="isPreliminary">Whether a reply comes before the answer: the call may still be made again.</param>
    /// <param name="token">Ends it.</param>
    internal ReplyStream<TReply> Stream<TReply>(
        Func<Link, CallOptions, AsyncServerStreamingCall<TReply>> begin,
        TimeSpan? timeout,
        Func<TReply, bool>? isPreliminary = null,
        CancellationToken token = default)
        where TReply : class
        => new(this, begin, NewAttempts(timeout), isPreliminary, token);

    /// <summary>The channel for the next call, which the first call opens.</summary>
    /// <exception cref="ClientClosedException">The client is closed.</exception>
    internal Link Open()
    {
        lock (_changing)
        {
            return _closed ? throw Failures.Closed() : _link ??= new Link(_place ??= _look(), _options);
        }
    }

    /// <summary>Whether an exception says how a call ended.</summary>
    internal static bool IsOfChannel(Exception error) => error is RpcException or ObjectDisposedException;

    /// <summary>Makes an exception for users of one that a channel threw.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    internal VramdException Explain(Exception error, Link link, CancellationToken token)
    {
        token.ThrowIfCancellationRequested();
        if (error is RpcException { StatusCode: not StatusCode.Cancelled } failed)
        {
            return Failures.From(failed);
        }

        // gRPC ends every call of a channel that is closed as cancelled.
        lock (_changing)
        {
            if (!_closed && link != _link)
            {
                return Failures.Replaced();
            }

            return !_closed && error is RpcException cancelled ? Failures.From(cancelled) : Failures.Closed();
        }
    }

    /// <summary>Waits until a call that failed is to be made again; false: it is not.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    internal async Task<bool> GoesOnAsync(VramdException failure, Link link, Attempts attempts, CancellationToken token)
    {
        if (attempts.NextIn(failure, Failures.MayBeGone(failure) && HasMoved(link)) is not { } wait)
        {
            return false;
        }

        if (wait > TimeSpan.Zero)
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(token, _closing.Token);
            try
            {
                await (_options.Delay ?? Task.Delay)(wait, either.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!token.IsCancellationRequested)
            {
                throw Failures.Closed();
            }
        }

        return true;
    }

    private Attempts NewAttempts(TimeSpan? timeout) => new(timeout, _options.MaxAttempts);

    /// <summary>Looks whether another supervisor has taken the place of this link's; calls go to it from now on.</summary>
    private bool HasMoved(Link link)
    {
        lock (_changing)
        {
            if (_closed)
            {
                return false;
            }

            if (_link != link)
            {
                return true;
            }

            Place place;
            try
            {
                place = _look();
            }
            catch (VramdException)
            {
                return false; // none is there now: what the call itself came to says it better
            }

            if (place == link.Place)
            {
                return false;
            }

            _place = place;
            _link = new Link(place, _options);
        }

        link.Dispose();
        return true;
    }
}
