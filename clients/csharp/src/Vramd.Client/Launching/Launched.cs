using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Runtime.ExceptionServices;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>A started supervisor, or a wrapper around one, and what it says. Safe for all threads.</summary>
internal sealed class Launched
{
    // For what it wrote before it ended, unless a process that it left behind holds the pipes. This program may be held
    // up meanwhile.
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(10);

    // A process whose object is collected loses its stdin, and with that its owner.
    private static readonly ConcurrentDictionary<Launched, bool> Living = new();

    private readonly IStartedProcess _process;
    private readonly OutputTail _tail = new();
    private readonly TaskCompletionSource<HandshakeLine?> _line =
        new(TaskCreationOptions.RunContinuationsAsynchronously);

    private readonly Task _read;
    private Action<string>? _log;
    private Exception? _logFailure;

    private Launched(IStartedProcess process, Action<string>? log)
    {
        _process = process;
        _log = log;
        Living.TryAdd(this, true);
        _read = Task.WhenAll(Task.Run(ReadOutputAsync), Task.Run(ReadErrorsAsync));
        Forgotten = ForgetAsync();
    }

    internal int ProcessId => _process.Id;

    internal Task<int> Exited => _process.Exited;

    /// <summary>Completes when it has ended and all that it wrote was read.</summary>
    internal Task Forgotten { get; }

    /// <summary>Starts it in its runtime folder, which is there.</summary>
    /// <exception cref="StartFailedException">It cannot be started.</exception>
    internal static Launched Start(IReadOnlyList<string> command, string folder, SupervisorOptions options)
    {
        var environment = SupervisorEnvironment.Make(options.Environment);
        try
        {
            var starter = options.Starter ?? new ProcessStarter();
            return new Launched(starter.Start(command, folder, environment), options.Log);
        }
        catch (IOException error)
        {
            throw new StartFailedException("START_FAILED", $"the supervisor cannot be started: {error.Message}");
        }
    }

    /// <summary>Waits for its line.</summary>
    /// <exception cref="StartFailedException">
    /// It says that it failed, ends without a word, or says nothing in time; then it may still live.
    /// </exception>
    internal async Task<HandshakeLine.Ready> ReadyAsync(TimeSpan limit, CancellationToken cancellationToken)
    {
        using var clock = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        clock.CancelAfter(limit);
        HandshakeLine? line;
        int code;
        try
        {
            line = await _line.Task.WithCancellation(clock.Token).ConfigureAwait(false);
            if (line is HandshakeLine.Ready ready)
            {
                return ready;
            }

            code = await Exited.WithCancellation(clock.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw Failure($"no supervisor after {limit.TotalSeconds:g} s", "", null);
        }

        await Task.WhenAny(_read, Task.Delay(LastWords, cancellationToken)).ConfigureAwait(false);
        var failed = line as HandshakeLine.Failed;
        code = failed?.Code ?? code; // that of a wrapper may be another
        throw Failure($"the supervisor ended with exit code {code}", failed?.Message ?? "", code);
    }

    /// <summary>Ends its lifeline and waits; after <paramref name="grace"/> it is killed.</summary>
    internal async Task EndAsync(TimeSpan grace)
    {
        _process.StandardInput.Dispose();
        if (!await EndsWithinAsync(grace).ConfigureAwait(false))
        {
            Kill();
        }

        await Exited.ConfigureAwait(false);
    }

    /// <summary>Waits for its end; false if it does not come in time.</summary>
    internal async Task<bool> EndsWithinAsync(TimeSpan limit)
    {
        using var clock = new CancellationTokenSource(limit);
        try
        {
            await Exited.WithCancellation(clock.Token).ConfigureAwait(false);
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    internal void Kill()
    {
        if (!Exited.IsCompleted)
        {
            _process.Kill();
        }
    }

    /// <summary>Throws what the program's log has thrown.</summary>
    internal void ThrowOfLog()
    {
        if (_logFailure is { } error)
        {
            ExceptionDispatchInfo.Capture(error).Throw();
        }
    }

    private async Task ReadOutputAsync()
    {
        try
        {
            await OutputLines.ReadAsync(_process.StandardOutput, text =>
            {
                if (!_line.Task.IsCompleted && HandshakeLine.Parse(text) is { } line)
                {
                    _line.SetResult(line);
                }
                else
                {
                    Take(text);
                }
            }).ConfigureAwait(false);
        }
        finally
        {
            _line.TrySetResult(null);
        }
    }

    private Task ReadErrorsAsync() => OutputLines.ReadAsync(_process.StandardError, Take);

    private void Take(string text)
    {
        _tail.Add(text);
        lock (_line)
        {
            try
            {
                _log?.Invoke(text);
            }
            catch (Exception error)
            {
                _log = null;
                _logFailure = error;
            }
        }
    }

    private async Task ForgetAsync()
    {
        await Exited.ConfigureAwait(false);
        Living.TryRemove(this, out _);
        await Task.WhenAny(_read, Task.Delay(LastWords)).ConfigureAwait(false);
        _process.Dispose();
    }

    private StartFailedException Failure(string what, string why, int? code)
    {
        var log = _tail.ToString();
        var metadata = new Dictionary<string, string> { ["log"] = log };
        if (code is { } number)
        {
            metadata["exitCode"] = number.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }

        var reasons = why.Length > 0 ? why : log.Length > 0 ? log : "it said nothing";
        return new StartFailedException("START_FAILED", $"{what}:\n{reasons}", metadata);
    }
}
