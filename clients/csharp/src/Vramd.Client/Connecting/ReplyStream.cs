using System;
#if NET
using System.Runtime.CompilerServices;
#endif
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using Grpc.Core;

namespace Vramd;

/// <summary>
/// The replies of a call, read on the thread pool as they come, so that a reader that looks seldom gets every one.
/// It is read by one reader.
/// </summary>
internal sealed class ReplyStream<TReply> : IAsyncDisposable
    where TReply : class
{
    /// <summary>Replies that wait for their reader; when they are as many, the supervisor waits too.</summary>
    private const int MostBuffered = 1024;

    private readonly Connection _connection;
    private readonly Func<Link, CallOptions, AsyncServerStreamingCall<TReply>> _begin;
    private readonly Attempts _attempts;
    private readonly Func<TReply, bool>? _isPreliminary;
    private readonly CancellationToken _token;
    private readonly CancellationTokenSource _ending;
    private readonly TaskCompletionSource<bool> _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Channel<TReply> _buffer = Channel.CreateBounded<TReply>(
        new BoundedChannelOptions(MostBuffered) { SingleReader = true, SingleWriter = true });

    private readonly Task _pump;
    private TReply? _current;
    private bool _answered;

    internal ReplyStream(
        Connection connection,
        Func<Link, CallOptions, AsyncServerStreamingCall<TReply>> begin,
        Attempts attempts,
        Func<TReply, bool>? isPreliminary,
        CancellationToken token)
    {
        _connection = connection;
        _begin = begin;
        _attempts = attempts;
        _token = token;
        _isPreliminary = isPreliminary;
        _ending = CancellationTokenSource.CreateLinkedTokenSource(token);
        _pump = Task.Run(PumpAsync, CancellationToken.None);
    }

    internal TReply Current => _current!;

    /// <summary>The trailing metadata; null before the end.</summary>
    internal Metadata? Trailers { get; private set; }

    /// <summary>Ends the call, and waits until that has happened. Idempotent.</summary>
    public async ValueTask DisposeAsync()
    {
        if (!_pump.IsCompleted)
        {
            _ending.Cancel();
            await _pump.ConfigureAwait(false);
        }

        _ending.Dispose();
    }

    /// <summary>Waits until the supervisor has begun to answer.</summary>
    /// <exception cref="VramdException">The call failed.</exception>
    internal Task BegunAsync() => _begun.Task;

    /// <summary>Gives the next reply as <see cref="Current"/>; false at the end.</summary>
    /// <exception cref="VramdException">The call failed; all replies before were given.</exception>
    /// <exception cref="OperationCanceledException">One of the tokens was cancelled.</exception>
    /// <param name="token">Ends the wait; the call goes on.</param>
    internal ValueTask<bool> MoveNextAsync(CancellationToken token = default)
    {
        _token.ThrowIfCancellationRequested();
        token.ThrowIfCancellationRequested();
        return _buffer.Reader.TryRead(out _current) ? new ValueTask<bool>(true) : WaitAsync(token);
    }

#if NET
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))] // it waits for nearly each reply
#endif
    private async ValueTask<bool> WaitAsync(CancellationToken token)
    {
        while (await _buffer.Reader.WaitToReadAsync(token).ConfigureAwait(false))
        {
            if (_buffer.Reader.TryRead(out _current))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Reads until the end, whatever it is; the reader hears of it behind all replies.</summary>
    private async Task PumpAsync()
    {
        Exception? end = null;
        try
        {
            while (!await ReadAllAsync().ConfigureAwait(false))
            {
                // The call failed before its answer began, and is made again.
            }
        }
#pragma warning disable CA1031 // Whatever it is, the reader gets it.
        catch (Exception error)
#pragma warning restore CA1031
        {
            end = error is OperationCanceledException && _token.IsCancellationRequested
                ? new OperationCanceledException(_token)
                : error;
        }

        _buffer.Writer.Complete(end);
        if (end is null)
        {
            _begun.TrySetResult(true);
        }
        else if (_begun.TrySetException(end))
        {
            _ = _begun.Task.Exception; // not every reader waits for the beginning
        }
    }

    private async Task<bool> ReadAllAsync()
    {
        var link = _connection.Open();
        try
        {
            using var call = _begin(link, link.Options(_attempts.Left, _ending.Token));
            var headers = await call.ResponseHeadersAsync.ConfigureAwait(false);
            // A call that is refused ends with its headers, which then say why.
            if (headers.Get(Failures.DetailsKey) is null)
            {
                // Whoever has heard of the beginning must not miss what comes before another one.
                _answered |= _isPreliminary is null;
                _begun.TrySetResult(true);
            }

            while (await call.ResponseStream.MoveNext(CancellationToken.None).ConfigureAwait(false))
            {
                var reply = call.ResponseStream.Current;
                _answered |= _isPreliminary?.Invoke(reply) is not true;
                await _buffer.Writer.WriteAsync(reply, _ending.Token).ConfigureAwait(false);
            }

            Trailers = call.GetTrailers();
            return true;
        }
        catch (Exception error) when (Connection.IsOfChannel(error))
        {
            var failure = _connection.Explain(error, link, _ending.Token);
            if (_answered || !await _connection.GoesOnAsync(failure, link, _attempts, _ending.Token).ConfigureAwait(false))
            {
                throw failure;
            }

            return false;
        }
    }
}
