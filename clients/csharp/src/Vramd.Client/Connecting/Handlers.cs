using System;
using System.Net.Http;
#if NET
using System.Globalization;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
#else
using System.Runtime.InteropServices;
#endif

namespace Vramd;

/// <summary>The HTTP handler of a connection where the program gives none.</summary>
internal static class Handlers
{
    /// <exception cref="PlatformNotSupportedException">
    /// This runtime has no handler that speaks HTTP/2, or none that can trust a certificate of its own.
    /// </exception>
    internal static HttpMessageHandler Default(Place place)
    {
#if NET
        var handler = new SocketsHttpHandler
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
        if (place.Tls is { } tls)
        {
            handler.SslOptions = TlsOptions.Of(tls);
            handler.ConnectCallback = (_, token) => ConnectAsync(place.Address, token);
        }

        return handler;
#else
        if (RuntimeInformation.FrameworkDescription.StartsWith(".NET Framework", StringComparison.Ordinal)
            || RuntimeInformation.FrameworkDescription.StartsWith("Mono", StringComparison.Ordinal))
        {
            throw new PlatformNotSupportedException(
                "this runtime has no HTTP handler that speaks HTTP/2: give one as VramdClientOptions.HttpHandler");
        }

        if (place.Tls is not null)
        {
            throw new PlatformNotSupportedException(
                "on this runtime TLS needs VramdClientOptions.HttpHandler: a handler that trusts the supervisor's certificate");
        }

        return new HttpClientHandler { UseProxy = false };
#endif
    }
#if NET

    /// <summary>
    /// Connects to where the supervisor is: the host of its requests is a name of its certificate, which is perhaps no
    /// address.
    /// </summary>
    private static async ValueTask<Stream> ConnectAsync(string address, CancellationToken token)
    {
        var colon = address.LastIndexOf(':');
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            var port = int.Parse(address.AsSpan(colon + 1), CultureInfo.InvariantCulture);
            await socket.ConnectAsync(address[..colon].Trim('[', ']'), port, token).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
#endif
}
