using System;

namespace Vramd.Tests.Support;

/// <summary>Hears of progress on the thread that reports it, before anything follows.</summary>
public sealed class Now<T>(Action<T> hear) : IProgress<T>
{
    /// <inheritdoc/>
    public void Report(T value) => hear(value);
}
