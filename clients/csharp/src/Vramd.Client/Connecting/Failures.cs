using System;
using System.Collections.Generic;
using System.Net.Http;
using Google.Rpc;
using Grpc.Core;

namespace Vramd;

/// <summary>Makes exceptions of what comes over the wire instead of an answer: status code, text, details.</summary>
internal static class Failures
{
    /// <summary>The metadata that carries the reason of a failure.</summary>
    internal const string DetailsKey = "grpc-status-details-bin";

    private const string Domain = "vramd";
    private const string HowToStart = "start one with: vramd serve --models DIR";

    /// <summary>The exception for what a channel threw.</summary>
    internal static VramdException From(RpcException error)
    {
        var code = CodeOf(error.StatusCode);
        var status = error.GetRpcStatus();
        var info = status?.GetDetail<ErrorInfo>();
        if (status is null || info is null || info.Domain != Domain)
        {
            return WithoutReason(error, code);
        }

        var retry = status.GetDetail<RetryInfo>()?.RetryDelay?.ToTimeSpan();
        return ExceptionTable.Make(
            info.Reason, error.Status.Detail, new Dictionary<string, string>(info.Metadata), retry, code);
    }

    /// <summary>The exception for an argument that cannot be sent.</summary>
    internal static InvalidRequestException Invalid(string field, string problem) =>
        new("FIELD_INVALID", $"{field}: {problem}", new Dictionary<string, string> { ["field"] = field });

    /// <summary>The exception for calls of a closed client.</summary>
    internal static ClientClosedException Closed() =>
        new("CLIENT_CLOSED", "the client is closed", code: "CANCELLED");

    /// <summary>The exception for calls that ran while another supervisor was found in the place of theirs.</summary>
    internal static SupervisorUnreachableException Replaced() =>
        new("UNAVAILABLE", $"another supervisor is in its place; {HowToStart}", code: "UNAVAILABLE");

    /// <summary>The exception for a call that ended well and did not say what it came to.</summary>
    internal static InternalException Unexplained(string what) =>
        new(Reasons.Internal, $"{what} ended without saying how", code: "INTERNAL");

    /// <summary>Whether the supervisor may be gone, or another in its place.</summary>
    internal static bool MayBeGone(VramdException error) =>
        error is SupervisorUnreachableException or TokenRefusedException or UnimplementedException;

    /// <summary>The failure that gRPC itself reports, or a server that is not vramd.</summary>
    private static VramdException WithoutReason(RpcException error, string code)
    {
        var text = error.Status.Detail;
        // A handler that asks in HTTP/1.1 gets an answer of that, or one of HTTP/2, which is the end of a response to it.
        // Of one that speaks HTTP/2 the second sentence goes on: while waiting for the next frame.
        if (text.Contains("HTTP/1.1", StringComparison.Ordinal)
            || text.Contains("response ended prematurely.", StringComparison.Ordinal))
        {
            text = $"the HTTP handler does not speak HTTP/2, which gRPC needs: give another one ({text})";
            return new InternalException(code, text, code: code);
        }

        // gRPC says INTERNAL of what no later attempt can change.
        if (IsTls(error))
        {
            text = $"no TLS with the supervisor ({text}); CertificateAuthority names the certificate that it serves with";
            return new SupervisorUnreachableException("UNAVAILABLE", text, code: "UNAVAILABLE");
        }

        return error.StatusCode switch
        {
            StatusCode.Unavailable =>
                new SupervisorUnreachableException(code, $"no supervisor answers ({text}); {HowToStart}", code: code),
            StatusCode.DeadlineExceeded =>
                new DeadlinePassedException(code, "the call took longer than its timeout", code: code),
            _ => ExceptionTable.Make(code, text, new Dictionary<string, string>(), null, code),
        };
    }

    private static bool IsTls(RpcException error) =>
        error.Status.DebugException is HttpRequestException { InnerException: System.Security.Authentication.AuthenticationException };

    private static string CodeOf(StatusCode code) => code switch
    {
        StatusCode.OK => "OK",
        StatusCode.Cancelled => "CANCELLED",
        StatusCode.InvalidArgument => "INVALID_ARGUMENT",
        StatusCode.DeadlineExceeded => "DEADLINE_EXCEEDED",
        StatusCode.NotFound => "NOT_FOUND",
        StatusCode.AlreadyExists => "ALREADY_EXISTS",
        StatusCode.PermissionDenied => "PERMISSION_DENIED",
        StatusCode.Unauthenticated => "UNAUTHENTICATED",
        StatusCode.ResourceExhausted => "RESOURCE_EXHAUSTED",
        StatusCode.FailedPrecondition => "FAILED_PRECONDITION",
        StatusCode.Aborted => "ABORTED",
        StatusCode.OutOfRange => "OUT_OF_RANGE",
        StatusCode.Unimplemented => "UNIMPLEMENTED",
        StatusCode.Internal => "INTERNAL",
        StatusCode.Unavailable => "UNAVAILABLE",
        StatusCode.DataLoss => "DATA_LOSS",
        _ => "UNKNOWN",
    };
}
