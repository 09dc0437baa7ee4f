using System;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;
using Vramd.Unity;

/// <summary>Two models that may not fit beside each other: says which one had to go, and for whom.</summary>
public sealed class TwoModels : MonoBehaviour
{
    public VramdHost host;
    public VramdChat first;
    public VramdChat second;

    private readonly CancellationTokenSource _gone = new CancellationTokenSource();

    /// <summary>Asks one, then the other.</summary>
    public async void AskBoth(string question)
    {
        try
        {
            Debug.Log($"{first.model}: {await first.ChatAsync(question)}");
            Debug.Log($"{second.model}: {await second.ChatAsync(question)}");
        }
        catch (Vramd.MemoryExhaustedException error)
        {
            Debug.LogWarning($"{error.NeededBytes} bytes are needed and {error.FreeBytes} are free", this);
        }
        catch (OperationCanceledException)
        {
            // The scene ended.
        }
    }

    private async void Start()
    {
        try
        {
            var client = await host.ClientAsync(_gone.Token);
            await using var events = await client.WatchAsync(cancellationToken: _gone.Token);
            await foreach (var happened in events.WithCancellation(_gone.Token))
            {
                if (happened is Vramd.Evicted evicted)
                {
                    Debug.Log($"{evicted.Model} went for {evicted.ForModel}");
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The scene ended.
        }
    }

    private void OnDestroy() => _gone.Cancel();
}
