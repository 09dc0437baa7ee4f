using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Vramd;

// What it prints depends on nothing but the code: tests/csharp.py compares it, compiled by the runtime and ahead of time.
const string Usage = "VRAMD_TEST_COMMAND names no vramd to start";
var command = Environment.GetEnvironmentVariable("VRAMD_TEST_COMMAND") ?? throw new InvalidOperationException(Usage);
var folder = Directory.CreateTempSubdirectory("va");
try
{
    var configuration = Path.Combine(folder.FullName, "vramd.toml");
    await File.WriteAllTextAsync(configuration, """
        [models.talker]
        engine = "simulated"
        memory = { host = "60MiB" }
        load_s = 0.1
        tokens_per_s = 200
        """);
    var options = new SupervisorOptions
    {
        Command = [command],
        ConfigFile = configuration,
        RuntimeDirectory = Path.Combine(folder.FullName, "run"),
    };
    await using var supervisor = await VramdSupervisor.StartAsync(options);
    Console.WriteLine($"started: owned {supervisor.Owned}");
    var client = supervisor.Client;
    await ChatAsync(client);
    await CancelAsync(client);
    await FailAsync(client);
    await EmbedAsync(client);
    await HoldAsync(client);
    await supervisor.StopAsync();
    Console.WriteLine($"stopped: exit code {await supervisor.Exited!}");
}
finally
{
    folder.Delete(recursive: true);
}

static async Task ChatAsync(VramdClient client)
{
    var (text, tokens) = ("", new List<int>());
    await foreach (var delta in client.ChatAsync("talker", "Say hello.", new() { MaxTokens = 12, Temperature = 0 }))
    {
        text += delta.Text;
        tokens.AddRange(delta.TokenIds);
        if (delta.Finish is { } finish)
        {
            Console.WriteLine($"chat: {text} [{string.Join(' ', tokens)}]");
            Console.WriteLine($"finish: {finish.Reason} {finish.Usage.CompletionTokens} by {finish.Timeline?.Model}");
        }
    }
}

static async Task CancelAsync(VramdClient client)
{
    using var cancelling = new CancellationTokenSource();
    var pieces = 0;
    // Pieces of one token, and far more of them than are read, so that their number is always the same.
    AnswerSettings settings = new() { MaxTokens = 2000, EveryToken = true };
    try
    {
        await foreach (var _ in client.GenerateAsync("talker", "x", settings, cancelling.Token))
        {
            if (++pieces == 3)
            {
                await cancelling.CancelAsync();
            }
        }
    }
    catch (OperationCanceledException error)
    {
        Console.WriteLine($"cancelled: after {pieces}, by its token {error.CancellationToken == cancelling.Token}");
    }
    while ((await client.ModelAsync("talker")).Resident is { InFlight: > 0 })
    {
        await Task.Delay(10);
    }
}

static async Task FailAsync(VramdClient client)
{
    try
    {
        await client.AnswerAsync("missing", "x");
    }
    catch (NotFoundException error)
    {
        Console.WriteLine($"error: {error.Reason} {error.Code} {error.Model}");
    }
    try
    {
        await client.AnswerAsync("talker", "x", new() { ContextTokens = -1 });
    }
    catch (InvalidRequestException error)
    {
        Console.WriteLine($"error: {error.Reason} {error.Code} {error.Field}");
    }
}

static async Task EmbedAsync(VramdClient client)
{
    var embeddings = await client.EmbedAsync("talker", ["a cat", "a dog"]);
    foreach (var vector in embeddings.Vectors)
    {
        Console.WriteLine(FormattableString.Invariant($"embedding: {embeddings.Dimensions} {vector.Span[0]}"));
    }
}

static async Task HoldAsync(VramdClient client)
{
    await using var hold = client.Hold("talker");
    await hold.ReadyAsync();
    Console.WriteLine($"held: {hold.Model} {hold.State}");
}
