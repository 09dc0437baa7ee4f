using System;
using Grpc.Core;
using Grpc.Net.Client;

namespace Vramd;

/// <summary>A channel, and the supervisor that it leads to.</summary>
internal sealed class Link : IDisposable
{
    // 1024 embeddings of 8192 floats are 32 MiB.
    private const int MostReceivedBytes = 64 << 20;

    private readonly GrpcChannel _channel;
    private readonly Metadata _metadata = new();

    internal Link(Place place, VramdClientOptions options)
    {
        Place = place;
        if (place.Token.Length > 0)
        {
            _metadata.Add("authorization", $"Bearer {place.Token}");
        }

        _channel = GrpcChannel.ForAddress(Target(place, options), new GrpcChannelOptions
        {
            HttpHandler = options.HttpHandler?.Invoke() ?? Handlers.Default(place),
            DisposeHttpClient = true,
            MaxReceiveMessageSize = MostReceivedBytes,
#if NET
            // A supervisor that was restarted is found again within a second.
            InitialReconnectBackoff = TimeSpan.FromMilliseconds(100),
            MaxReconnectBackoff = TimeSpan.FromSeconds(1),
#endif
        });
        Inference = new V1.InferenceService.InferenceServiceClient(_channel);
        Models = new V1.ModelService.ModelServiceClient(_channel);
        Supervisor = new V1.SupervisorService.SupervisorServiceClient(_channel);
    }

    internal Place Place { get; }

    internal V1.InferenceService.InferenceServiceClient Inference { get; }

    internal V1.ModelService.ModelServiceClient Models { get; }

    internal V1.SupervisorService.SupervisorServiceClient Supervisor { get; }

    /// <summary>Ends the calls that still run, and the connection.</summary>
    public void Dispose() => _channel.Dispose();

    /// <summary>The address of requests; the default handler connects to the place, whatever name is in it.</summary>
    private static string Target(Place place, VramdClientOptions options)
    {
        if (place.Tls is not { } tls)
        {
            return $"http://{place.Address}";
        }

        var hasName = tls.Name.Length > 0 && options.HttpHandler is null;
        return hasName
            ? $"https://{tls.Name}:{place.Address.Substring(place.Address.LastIndexOf(':') + 1)}"
            : $"https://{place.Address}";
    }

    /// <summary>What each call carries.</summary>
    internal CallOptions Options(TimeSpan? left, System.Threading.CancellationToken token)
    {
        DateTime? deadline = null;
        // Beyond this a deadline is none: the clock of HTTP timers ends before.
        if (left is { } time && time < TimeSpan.FromDays(365))
        {
            deadline = DateTime.UtcNow + time;
        }

        return new CallOptions(_metadata, deadline, token);
    }
}
