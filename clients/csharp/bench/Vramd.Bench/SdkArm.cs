using System.Threading.Tasks;

namespace Vramd.Bench;

/// <summary>Vramd.Client.</summary>
internal sealed class SdkArm(VramdClient client, string model) : InProcessArm
{
    public override string Name => "Vramd.Client";

    public override ValueTask DisposeAsync() => client.DisposeAsync();

    protected override async Task<(int Tokens, int Messages)> StreamAsync(int tokens)
    {
        var (came, messages) = (0, 0);
        await foreach (var delta in client.GenerateAsync(model, "x", new() { MaxTokens = tokens }))
        {
            came += delta.TokenIds.Count;
            messages++;
        }
        return (came, messages);
    }

    protected override Task AskAsync() => client.StatusAsync();
}
