// Starts a supervisor for the folders of models on the command line, and asks the demo model a question:
// dotnet run --project clients/csharp/samples/Hello clients/python/vramd_cli/demo_models
using System;
using Vramd;

await using var supervisor = await VramdSupervisor.StartAsync(new() { Models = args });
await foreach (var delta in supervisor.Client.ChatAsync("companion", "Do you like trains?"))
{
    Console.Write(delta.Text);
}

Console.WriteLine();
