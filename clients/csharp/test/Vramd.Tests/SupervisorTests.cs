using System.Threading.Tasks;
using Grpc.Core;
using Grpc.Net.Client;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

public sealed class SupervisorTests(SimulatedSupervisor simulated)
{
    [Fact]
    public async Task A_supervisor_answers_the_generated_stubs()
    {
        var supervisor = await simulated.StartedAsync();
        using var channel = GrpcChannel.ForAddress($"http://{supervisor.Address}");
        var stub = new V1.SupervisorService.SupervisorServiceClient(channel);
        var headers = new Metadata { { "authorization", $"Bearer {supervisor.Token}" } };
        var reply = await Bounds.Until(stub.GetStatusAsync(new(), headers).ResponseAsync, "a status");
        Assert.Equal((ulong)supervisor.Process.Id, reply.Supervisor.Pid);
    }
}
