// A conversation with the demo model, as a service of a host. The supervisor and its models are in appsettings.json:
// dotnet run --project clients/csharp/samples/HostedChat
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Vramd;

var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings
{
    Args = args,
    ContentRootPath = AppContext.BaseDirectory, // where appsettings.json lies
});
builder.Services.AddVramdSupervisor();
builder.Services.AddChatClient(static services =>
    services.GetRequiredService<VramdClient>().AsIChatClient("companion", new() { MaxTokens = 200 })).UseLogging();
builder.Services.AddHostedService<Conversation>();
await builder.Build().RunAsync();

/// <summary>Reads what the user says, line by line, and prints the answers.</summary>
internal sealed class Conversation(IChatClient chat, IHostApplicationLifetime host) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        List<ChatMessage> messages = [];
        while (await Console.In.ReadLineAsync(stoppingToken) is { Length: > 0 } line)
        {
            messages.Add(new(ChatRole.User, line));
            List<ChatResponseUpdate> updates = [];
            await foreach (var update in chat.GetStreamingResponseAsync(messages, cancellationToken: stoppingToken))
            {
                Console.Write(update.Text);
                updates.Add(update);
            }

            Console.WriteLine();
            messages.AddMessages(updates);
        }

        host.StopApplication();
    }
}
