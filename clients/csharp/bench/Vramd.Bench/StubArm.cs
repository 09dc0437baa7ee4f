using System;
using System.Threading;
using System.Threading.Tasks;
using Grpc.Core;
using Grpc.Net.Client;

namespace Vramd.Bench;

/// <summary>The stubs that Grpc.Tools generates, over a channel of Grpc.Net.Client.</summary>
internal sealed class StubArm : InProcessArm
{
    private readonly GrpcChannel _channel;
    private readonly Metadata _metadata;
    private readonly string _model;
    private readonly V1.InferenceService.InferenceServiceClient _inference;
    private readonly V1.SupervisorService.SupervisorServiceClient _supervisor;

    internal StubArm(string address, string token, string model)
    {
        _channel = GrpcChannel.ForAddress(new Uri($"http://{address}"));
        _metadata = new Metadata { { "authorization", $"Bearer {token}" } };
        _model = model;
        _inference = new(_channel);
        _supervisor = new(_channel);
    }

    public override string Name => "grpc-dotnet stub";

    public override ValueTask DisposeAsync()
    {
        _channel.Dispose();
        return ValueTask.CompletedTask;
    }

    protected override async Task<(int Tokens, int Messages)> StreamAsync(int tokens)
    {
        var request = new V1.GenerateRequest
        {
            Model = _model,
            Prompt = { new V1.ContentPart { Text = "x" } },
            Limits = new() { MaxTokens = (uint)tokens },
        };
        var (came, messages) = (0, 0);
        using var call = _inference.Generate(request, _metadata);
        while (await call.ResponseStream.MoveNext(CancellationToken.None))
        {
            came += call.ResponseStream.Current.TokenIds.Count;
            messages++;
        }
        return (came, messages);
    }

    protected override async Task AskAsync() => await _supervisor.GetStatusAsync(new(), _metadata);
}
