using System;
using System.Collections.Generic;

namespace Vramd;

/// <summary>One vector of length 1 for each text.</summary>
public sealed record Embeddings
{
    /// <summary>Id of the model.</summary>
    public string Model { get; init; } = "";

    /// <summary>Numbers of each vector.</summary>
    public int Dimensions { get; init; }

    /// <summary>The vectors, in the order of the texts.</summary>
    public IReadOnlyList<ReadOnlyMemory<float>> Vectors { get; init; } = Array.Empty<ReadOnlyMemory<float>>();

    /// <summary>The tokens and the time that it took.</summary>
    public Usage Usage { get; init; } = new();
}
