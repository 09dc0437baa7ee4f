using System;

namespace Vramd;

/// <summary>Something that happened in the supervisor; what, the derived records say.</summary>
public abstract record VramdEvent
{
    /// <summary>Counts up from 1 without gaps as long as the supervisor lives.</summary>
    public long Sequence { get; init; }

    /// <summary>The time at which it happened.</summary>
    public DateTimeOffset Time { get; init; }

    /// <summary>Its kind.</summary>
    public EventKind Kind { get; init; }
}

/// <summary>A process is gone and its memory is free.</summary>
public sealed record Released : VramdEvent
{
    /// <summary>The memory that was freed, and the end of the process.</summary>
    public Receipt Receipt { get; init; } = new();
}

/// <summary>An event of a newer supervisor, of which this client knows the number of its kind only.</summary>
public sealed record UnknownEvent : VramdEvent;
