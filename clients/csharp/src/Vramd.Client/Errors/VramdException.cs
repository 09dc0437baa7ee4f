using System;
using System.Collections.Generic;

namespace Vramd;

/// <summary>A call failed. <see cref="Exception.Message"/> says why, for people.</summary>
public class VramdException : Exception
{
    private static readonly IReadOnlyDictionary<string, string> Nothing = new Dictionary<string, string>();

    /// <summary>Makes the exception of a reason.</summary>
    /// <param name="reason">A name of the table of reasons, or the status code's name where the failure has none.</param>
    /// <param name="message">What happened and what to do about it.</param>
    /// <param name="metadata">The numbers and names of the message.</param>
    /// <param name="retryAfter">The time after which the same call may succeed; null: waiting does not help.</param>
    /// <param name="code">The name of the gRPC status code; empty where no call was made.</param>
    public VramdException(
        string reason,
        string message,
        IReadOnlyDictionary<string, string>? metadata = null,
        TimeSpan? retryAfter = null,
        string code = "")
        : base(message)
    {
        Reason = reason;
        Metadata = metadata ?? Nothing;
        RetryAfter = retryAfter;
        Code = code;
    }

    /// <summary>A name of the table of reasons, or the status code's name where the failure has none.</summary>
    public string Reason { get; }

    /// <summary>The name of the gRPC status code; empty where no call was made.</summary>
    public string Code { get; }

    /// <summary>The numbers and names of the message.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The time after which the same call may succeed; null: waiting does not help.</summary>
    public TimeSpan? RetryAfter { get; }

    /// <summary>The text of an answer that came before it failed; empty for all other calls.</summary>
    public string Received { get; internal set; } = "";
}
