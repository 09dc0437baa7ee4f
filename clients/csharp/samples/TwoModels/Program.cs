// Two models, and another program that leaves memory for one of them. Loads one, keeps it, lets it go, and sees it
// evicted for the other:
// dotnet run --project clients/csharp/samples/TwoModels clients/python/vramd_cli/demo_models
using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Vramd;

var options = new SupervisorOptions
{
    Models = args,
    Budgets = new Dictionary<string, string> { ["host"] = "256MiB" },
};
await using var supervisor = await VramdSupervisor.StartAsync(options);
var client = supervisor.Client;

using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
var steps = new Progress<LoadProgress>(step => Console.WriteLine($"{step.State} {step.Progress:P0}"));
var loaded = await client.LoadAsync(
    "companion", new() { ContextTokens = 1024 }, progress: steps, cancellationToken: limit.Token);
Console.WriteLine($"companion: process {loaded.ProcessId}, {loaded.ReservedBytes >> 20} MiB");

var host = (await client.DevicesAsync(limit.Token)).Single(device => device.Id == "host");
await using var reserved = await client.ReserveAsync(
    host.FreeBytes - (4 << 20), "host", TimeSpan.FromMinutes(2), "a game", limit.Token);

await using (var hold = client.Hold("companion"))
{
    await hold.ReadyAsync(limit.Token);
    try
    {
        await client.LoadAsync("coder", cancellationToken: limit.Token);
    }
    catch (MemoryExhaustedException full)
    {
        Console.WriteLine($"coder needs {full.NeededBytes >> 20} MiB; {full.HeldBy}");
    }
}

await using var events = await client.WatchAsync([EventKind.Eviction], cancellationToken: limit.Token);
var answer = client.AnswerAsync("coder", "Write a loop from 1 to 3 in Python.", new() { MaxTokens = 60 }, limit.Token);
await foreach (var one in events.WithCancellation(limit.Token))
{
    if (one is Evicted evicted)
    {
        Console.WriteLine($"{evicted.Model} went for {evicted.ForModel}: {evicted.Message}");
        break;
    }
}

Console.WriteLine((await answer).Text);
