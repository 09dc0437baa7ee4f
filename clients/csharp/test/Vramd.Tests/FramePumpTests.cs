using System;
using System.Diagnostics;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

public sealed class FramePumpTests(ITestOutputHelper output)
{
    private const int Tokens = 800;
    private const int TokensPerSecond = 200;

    private static readonly TimeSpan Frame = TimeSpan.FromMilliseconds(33);

    /// <summary>The figure is printed: it is the machine's as much as the client's.</summary>
    [Fact]
    public async Task A_thread_that_looks_thirty_times_a_second_gets_every_token()
    {
        await using var supervisor = await RealSupervisor.StartAsync(
            Configuration.Card + Configuration.Simulated("steady", settings: ("tokens_per_s", TokensPerSecond)));
        await using var client = VramdClient.Connect(supervisor.Folder);
        await client.LoadAsync("steady");
        var (tokens, took, made) = await Bounds.Until(
            FramePump.RunAsync(Frame, () => ReadAsync(client)), "the answer was read in frames");
        Assert.Equal(Tokens, tokens);
        output.WriteLine(
            $"{tokens / took.TotalSeconds:0} tokens/s of {tokens / made.TotalSeconds:0} read: {made / took:0.000}");
    }

    /// <summary>The tokens that came, and the time from the first to the last: here, and where they were made.</summary>
    private static async Task<(int Tokens, TimeSpan Took, TimeSpan Made)> ReadAsync(VramdClient client)
    {
        var clock = new Stopwatch();
        var tokens = 0;
        var made = TimeSpan.Zero;
        await foreach (var delta in client.GenerateAsync("steady", "x", new() { MaxTokens = Tokens }))
        {
            clock.Start();
            tokens += delta.TokenIds.Count;
            made = delta.Finish?.Usage.Generation ?? made;
        }
        return (tokens, clock.Elapsed, made);
    }
}
