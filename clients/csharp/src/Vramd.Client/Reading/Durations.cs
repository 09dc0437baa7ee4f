using System;

namespace Vramd;

/// <summary>Durations of the wire, which has seconds, and -1 for a model that stays.</summary>
internal static class Durations
{
    /// <summary>Seconds as a duration: null for what is no number, the longest one for what is longer.</summary>
    internal static TimeSpan? FromSeconds(double seconds) =>
        double.IsNaN(seconds) ? null
        : seconds >= TimeSpan.MaxValue.TotalSeconds ? TimeSpan.MaxValue
        : seconds <= TimeSpan.MinValue.TotalSeconds ? TimeSpan.MinValue
        : TimeSpan.FromTicks((long)Math.Round(seconds * TimeSpan.TicksPerSecond));
}
