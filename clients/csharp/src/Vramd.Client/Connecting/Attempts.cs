using System;
using System.Diagnostics;

namespace Vramd;

/// <summary>The attempts of one call: how often it was made, and until when it may go on.</summary>
internal sealed class Attempts
{
    private const double Jitter = 0.25;

    private readonly TimeSpan? _timeout;
    private readonly int _most;
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private int _failed;

    /// <summary>Null is no limit.</summary>
    /// <exception cref="InvalidRequestException">The timeout is negative.</exception>
    internal Attempts(TimeSpan? timeout, int most)
    {
        if (timeout < TimeSpan.Zero && timeout != System.Threading.Timeout.InfiniteTimeSpan)
        {
            throw Failures.Invalid("timeout", $"{timeout} is no duration");
        }

        _timeout = timeout == System.Threading.Timeout.InfiniteTimeSpan ? null : timeout;
        _most = most;
    }

    /// <summary>The time that is left, zero at least; null: no limit.</summary>
    internal TimeSpan? Left
    {
        get
        {
            var left = _timeout - _clock.Elapsed;
            return left < TimeSpan.Zero ? TimeSpan.Zero : left;
        }
    }

    /// <summary>The time until the next attempt; null: there is none.</summary>
    /// <param name="failure">Why the last attempt failed.</param>
    /// <param name="moved">Another supervisor has taken the place of the one that was asked.</param>
    internal TimeSpan? NextIn(VramdException failure, bool moved)
    {
        _failed++;
        if (_failed >= _most)
        {
            return null;
        }

        if (moved)
        {
            return TimeSpan.Zero;
        }

        // Everything that is not UNAVAILABLE is for the caller to decide.
        if (failure.RetryAfter is not { } asked || failure.Code != "UNAVAILABLE")
        {
            return null;
        }

        // Clients must not return at the same moment.
        var wait = asked + TimeSpan.FromTicks((long)(asked.Ticks * Jitter * Spread()));
        return Left is { } left && wait >= left ? null : wait;
    }

    private static double Spread()
    {
#if NET
        return Random.Shared.NextDouble();
#else
        return new Random().NextDouble();
#endif
    }
}
