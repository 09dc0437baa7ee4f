using System;
using System.Collections.Generic;

namespace Vramd;

/// <summary>A whole answer.</summary>
public sealed record Answer
{
    /// <summary>The text.</summary>
    public string Text { get; init; } = "";

    /// <summary>Ids of the tokens that were sampled.</summary>
    public IReadOnlyList<int> TokenIds { get; init; } = Array.Empty<int>();

    /// <summary>The end of the answer.</summary>
    public Finish Finish { get; init; } = new();
}

/// <content>What the end of a call says beside its last message.</content>
public sealed partial record Finish
{
    /// <summary>Where the time of the call went; null if that was not said.</summary>
    public Timeline? Timeline { get; init; }
}
