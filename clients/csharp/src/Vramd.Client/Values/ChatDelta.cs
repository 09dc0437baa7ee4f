using System;
using System.Collections.Generic;

namespace Vramd;

/// <summary>One piece of an answer.</summary>
public sealed record ChatDelta
{
    /// <summary>New text: whole characters, which may lag behind <see cref="TokenIds"/>.</summary>
    public string Text { get; init; } = "";

    /// <summary>Ids of the tokens sampled since the last piece.</summary>
    public IReadOnlyList<int> TokenIds { get; init; } = Array.Empty<int>();

    /// <summary>The end of the answer: in the last piece, and only there.</summary>
    public Finish? Finish { get; init; }
}
