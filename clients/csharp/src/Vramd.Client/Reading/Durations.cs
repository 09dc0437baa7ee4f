using System;
using System.Threading;

namespace Vramd;

/// <summary>Durations and moments of the wire, which has seconds. What is too long is the longest there is.</summary>
internal static class Durations
{
    internal static TimeSpan FromSeconds(double seconds)
    {
        var ticks = Math.Round(seconds * TimeSpan.TicksPerSecond);
        return ticks >= long.MaxValue ? TimeSpan.MaxValue
            : ticks <= long.MinValue ? TimeSpan.MinValue
            : double.IsNaN(ticks) ? TimeSpan.Zero
            : TimeSpan.FromTicks((long)ticks);
    }

    /// <summary>The time that a model stays, where -1 is for ever.</summary>
    internal static TimeSpan KeepAlive(double seconds) =>
        seconds < 0 ? Timeout.InfiniteTimeSpan : FromSeconds(seconds);

    /// <summary>The same as seconds; other negative times are the supervisor's to refuse.</summary>
    internal static double KeepAliveSeconds(TimeSpan time) =>
        time == Timeout.InfiniteTimeSpan ? -1 : time.TotalSeconds;

    /// <summary>A moment of Unix time.</summary>
    internal static DateTimeOffset Moment(double seconds)
    {
        var since = FromSeconds(seconds);
        return since > DateTimeOffset.MaxValue - DateTimeOffset.UnixEpoch ? DateTimeOffset.MaxValue
            : since < DateTimeOffset.MinValue - DateTimeOffset.UnixEpoch ? DateTimeOffset.MinValue
            : DateTimeOffset.UnixEpoch + since;
    }
}
