using System;
using System.Net.Http;
using System.Runtime.InteropServices;

namespace Vramd;

/// <summary>The HTTP handler of a connection where the program gives none.</summary>
internal static class Handlers
{
    /// <exception cref="PlatformNotSupportedException">This runtime has no handler that speaks HTTP/2.</exception>
    internal static HttpMessageHandler Default(Place place)
    {
#if NET
        return new SocketsHttpHandler
        {
            // A proxy of the environment must not see what goes to this machine.
            UseProxy = false,
            ConnectTimeout = TimeSpan.FromSeconds(5),
            // A long prompt is a quiet stream: a dead peer is noticed by pings, not by silence.
            KeepAlivePingDelay = TimeSpan.FromSeconds(30),
            KeepAlivePingTimeout = TimeSpan.FromSeconds(10),
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            EnableMultipleHttp2Connections = true,
            PooledConnectionIdleTimeout = System.Threading.Timeout.InfiniteTimeSpan,
        };
#else
        if (RuntimeInformation.FrameworkDescription.StartsWith(".NET Framework", StringComparison.Ordinal)
            || RuntimeInformation.FrameworkDescription.StartsWith("Mono", StringComparison.Ordinal))
        {
            throw new PlatformNotSupportedException(
                "this runtime has no HTTP handler that speaks HTTP/2: give one as VramdClientOptions.HttpHandler");
        }

        return new HttpClientHandler { UseProxy = false };
#endif
    }
}
