using System;
using System.Linq;
using System.Net;
using System.Net.NetworkInformation;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>Alone in the process while it runs: it looks at the memory of all.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

[Collection(nameof(Alone))]
public sealed class CancelTests(ITestOutputHelper output)
{
    private const int Times = 1000;
    private const int Before = 200;
    private const int AtOnce = 4;
    private const int TokensPerSecond = 1000;
    private static readonly AnswerSettings EveryToken = new() { EveryToken = true };

    /// <summary>What all cancels together may leave; a call and its buffers have more than a KiB.</summary>
    private const long GrowthBytes = Times * 1024;

    /// <summary>By its token, by leaving the loop, by disposing of the reader: in turn.</summary>
    private static readonly Func<VramdClient, int, Task>[] Manners = [ByTokenAsync, ByBreakAsync, ByDisposeAsync];

    [Fact]
    public async Task A_thousand_cancels_leave_no_request_no_socket_and_no_memory()
    {
        await using var supervisor = await RealSupervisor.StartAsync(Configuration.Card + Configuration.Simulated(
            "busy", settings: [("tokens_per_s", TokensPerSecond), ("parallel", AtOnce)]));
        await using (var client = VramdClient.Connect(supervisor.Folder))
        {
            await client.LoadAsync("busy");
            await CancelAsync(client, Before, seed: 1);
            var before = GC.GetTotalMemory(forceFullCollection: true);
            await CancelAsync(client, Times, seed: 2);
            await Bounds.Until("nothing runs any more", async () =>
                (await client.ModelAsync("busy")).Resident is { InFlight: 0, Queued: 0 });
            var growth = GC.GetTotalMemory(forceFullCollection: true) - before;
            output.WriteLine($"{Times} cancels left {growth} bytes and {Sockets(supervisor)} connections");
            Assert.True(growth < GrowthBytes, $"{growth} bytes more after {Times} cancels");
            Assert.NotEqual(0, Sockets(supervisor));
        }
        await Bounds.Until("no socket is left", () => Sockets(supervisor) == 0);
    }

    /// <summary>Cancels so many answers as they stand, before their first token or behind one of the first ten.</summary>
    private static async Task CancelAsync(VramdClient client, int times, int seed)
    {
        var chance = new Random(seed);
        var tokens = Enumerable.Range(0, times).Select(_ => chance.Next(10)).ToArray();
        var next = -1;
        async Task Next()
        {
            for (int mine; (mine = Interlocked.Increment(ref next)) < times;)
            {
                await Manners[mine % Manners.Length](client, tokens[mine]);
            }
        }
        await Bounds.Until(
            Task.WhenAll(Enumerable.Range(0, AtOnce).Select(_ => Task.Run(Next))), "all were cancelled",
            TimeSpan.FromMinutes(3));
    }

    private static async Task ByTokenAsync(VramdClient client, int tokens)
    {
        using var cancelling = new CancellationTokenSource();
        if (tokens == 0)
        {
            cancelling.CancelAfter(TimeSpan.FromMilliseconds(1));
        }
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in client.GenerateAsync("busy", "x", EveryToken, cancelling.Token))
            {
                if (--tokens <= 0)
                {
                    await cancelling.CancelAsync();
                }
            }
        });
        Assert.Equal(cancelling.Token, error.CancellationToken);
    }

    private static async Task ByBreakAsync(VramdClient client, int tokens)
    {
        await foreach (var _ in client.GenerateAsync("busy", "x", EveryToken))
        {
            if (--tokens <= 0)
            {
                break;
            }
        }
    }

    private static async Task ByDisposeAsync(VramdClient client, int tokens)
    {
        await using var reader = client.GenerateAsync("busy", "x", EveryToken).GetAsyncEnumerator();
        for (; tokens > 0; tokens--)
        {
            await reader.MoveNextAsync();
        }
    }

    /// <summary>Connections of this machine's programs to the supervisor; this one has all of them.</summary>
    private static int Sockets(RealSupervisor supervisor)
    {
        var port = IPEndPoint.Parse(supervisor.Address).Port;
        return IPGlobalProperties.GetIPGlobalProperties().GetActiveTcpConnections()
            .Count(one => one.RemoteEndPoint.Port == port && one.State == TcpState.Established);
    }
}
