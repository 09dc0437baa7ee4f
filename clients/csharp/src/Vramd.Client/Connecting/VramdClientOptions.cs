using System;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>How a client makes its calls.</summary>
public sealed record VramdClientOptions
{
    /// <summary>
    /// The longest that a call may take that has one answer, retries included, where the call does not say; null leaves
    /// it to the supervisor.
    /// </summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>
    /// How often a call is made at most, where the supervisor could not begin to answer and says that waiting helps.
    /// </summary>
    public int MaxAttempts { get; init; } = 3;

    /// <summary>
    /// Makes the handler of a connection, which must speak HTTP/2; null takes that of .NET. The client disposes of it. For
    /// a supervisor that serves by TLS it must trust the certificate and show the program's own, if one is wanted: the
    /// client leaves both to it.
    /// </summary>
    public Func<HttpMessageHandler>? HttpHandler { get; init; }

    /// <summary>Waits between attempts; null takes the clock.</summary>
    public Func<TimeSpan, CancellationToken, Task>? Delay { get; init; }
}
