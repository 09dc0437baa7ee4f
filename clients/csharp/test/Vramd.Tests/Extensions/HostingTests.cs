using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests.Extensions;

/// <summary>vramd as a service of a generic host.</summary>
public sealed class HostingTests(SimulatedSupervisor simulated)
{
    [Fact]
    public void Options_come_from_the_section_and_from_the_program_over_it()
    {
        using var services = new ServiceCollection()
            .AddSingleton(Section(new()
            {
                ["Vramd:RuntimeDirectory"] = "run",
                ["Vramd:Timeout"] = "00:00:07",
                ["Vramd:MaxAttempts"] = "5",
                ["Vramd:Supervisor:Attach"] = "true",
                ["Vramd:Supervisor:Models:0"] = "models",
                ["Vramd:Supervisor:Models:1"] = "more",
                ["Vramd:Supervisor:Budgets:host"] = "1GiB",
                ["Vramd:Supervisor:StopTimeout"] = "00:01:30",
                ["Vramd:Supervisor:Environment:LEVEL"] = "3",
            }))
            .AddLogging()
            .AddVramd(static options => options.MaxAttempts = 1)
            .AddVramdSupervisor(static options => options.Port = 4711)
            .AddVramdSupervisor()
            .BuildServiceProvider();
        var client = services.GetRequiredService<IOptions<VramdOptions>>().Value;
        Assert.Equal(
            ("run", TimeSpan.FromSeconds(7), 1), (client.RuntimeDirectory, client.Timeout, client.MaxAttempts));
        var supervisor = services.GetRequiredService<IOptions<VramdSupervisorOptions>>().Value;
        Assert.True(supervisor.Attach);
        Assert.Equal(["models", "more"], supervisor.Models);
        Assert.Equal("1GiB", supervisor.Budgets["host"]);
        Assert.Equal("3", supervisor.Environment["LEVEL"]);
        Assert.Equal((4711, TimeSpan.FromSeconds(90)), (supervisor.Port, supervisor.StopTimeout));
        Assert.Single(services.GetServices<IHostedService>());
    }

    [Fact]
    public async Task A_client_is_a_service_without_a_host_and_without_a_configuration()
    {
        var running = await simulated.StartedAsync();
        await using var services = new ServiceCollection()
            .AddVramd(options => options.RuntimeDirectory = running.Folder)
            .BuildServiceProvider();
        var client = services.GetRequiredService<VramdClient>();
        Assert.Same(client, services.GetRequiredService<VramdClient>());
        var status = await Bounds.Until(client.StatusAsync(), "a status");
        Assert.Equal(running.Process.Id, status.Supervisor.ProcessId);
    }

    [Fact]
    public async Task A_client_is_made_before_its_supervisor_runs()
    {
        await using var services = new ServiceCollection()
            .AddLogging()
            .AddVramdSupervisor()
            .BuildServiceProvider();
        var client = services.GetRequiredService<VramdClient>();
        await Assert.ThrowsAsync<SupervisorNotFoundException>(() => client.StatusAsync());
    }

    [Fact]
    public async Task The_supervisor_of_a_host_is_there_for_every_service_and_ends_with_the_host()
    {
        RealSupervisor.SkipWithout();
        using var folder = new OwnFolder();
        var builder = NewHost(folder);
        builder.Services.AddHostedService<Asking>();
        builder.Services.AddVramdSupervisor(static options => options.Command = [RealSupervisor.Command!]);
        using var host = builder.Build();
        await Bounds.Until(host.StartAsync(), "the start of the host");
        var asking = host.Services.GetRequiredService<Answered>();
        using var process = Process.GetProcessById(asking.AtStart!.Supervisor.ProcessId);
        await Bounds.Until(host.StopAsync(), "the end of the host");
        Assert.NotNull(asking.AtStop);
        await Bounds.Until(process.WaitForExitAsync(), "the end of the supervisor");
        Assert.DoesNotContain(folder.Log, static line => line.Contains("by itself", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_supervisor_that_ends_by_itself_is_logged()
    {
        RealSupervisor.SkipWithout();
        using var folder = new OwnFolder();
        var builder = NewHost(folder);
        builder.Services.AddVramdSupervisor(static options => options.Command = [RealSupervisor.Command!]);
        using var host = builder.Build();
        await Bounds.Until(host.StartAsync(), "the start of the host");
        var client = host.Services.GetRequiredService<VramdClient>();
        await Bounds.Until(client.ShutdownAsync(force: true), "an agreement to end");
        await Bounds.Until(
            "its end is logged",
            () => folder.Log.Contains("The supervisor has ended by itself, with exit code 0"));
    }

    [Fact]
    public async Task A_start_that_fails_ends_the_start_of_the_host()
    {
        using var folder = new OwnFolder();
        var builder = NewHost(folder);
        builder.Services.AddVramdSupervisor(static options => options.Command = ["/nowhere/vramd"]);
        using var host = builder.Build();
        await Assert.ThrowsAsync<StartFailedException>(() => host.StartAsync());
    }

    private static IConfiguration Section(Dictionary<string, string?> keys) =>
        new ConfigurationBuilder().AddInMemoryCollection(keys).Build();

    private static HostApplicationBuilder NewHost(OwnFolder folder)
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Vramd:RuntimeDirectory"] = folder.Runtime,
            ["Vramd:Supervisor:Environment:VRAMD_STATE_DIR"] = folder.State,
        });
        builder.Logging.AddProvider(folder);
        builder.Services.AddSingleton<Answered>();
        return builder;
    }

    /// <summary>What the supervisor has answered to <see cref="Asking"/>.</summary>
    private sealed class Answered
    {
        public Status? AtStart { get; set; }

        public Status? AtStop { get; set; }
    }

    /// <summary>Asks the supervisor when the host starts, and when it stops.</summary>
    private sealed class Asking(VramdClient client, Answered answered) : IHostedService
    {
        public async Task StartAsync(CancellationToken cancellationToken) =>
            answered.AtStart = await client.StatusAsync(cancellationToken);

        public async Task StopAsync(CancellationToken cancellationToken) =>
            answered.AtStop = await client.StatusAsync(cancellationToken);
    }

    /// <summary>The files of a host's supervisor, and what the host logs.</summary>
    private sealed class OwnFolder : ILoggerProvider, ILogger
    {
        private readonly DirectoryInfo _own = Directory.CreateTempSubdirectory("vh");

        public ConcurrentQueue<string> Log { get; } = new();

        public string Runtime => Path.Combine(_own.FullName, "run");

        public string State => Path.Combine(_own.FullName, "state");

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        void ILogger.Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) => Log.Enqueue(formatter(state, exception));

        public void Dispose()
        {
            if (_own.Exists)
            {
                Folders.DeleteAsync(_own).GetAwaiter().GetResult();
                _own.Refresh();
            }
        }
    }
}
