using System;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Vramd;

/// <summary>
/// A supervisor that lives as long as its host: it is there before other services of the host start, and ends after
/// them.
/// </summary>
internal sealed partial class HostedSupervisor : IHostedLifecycleService, IAsyncDisposable, IDisposable
{
    private readonly VramdOptions _client;
    private readonly VramdSupervisorOptions _options;
    private readonly ILogger<VramdSupervisor> _logger;
    private VramdSupervisor? _supervisor;
    private Task _watched = Task.CompletedTask;
    private bool _stopping;

    public HostedSupervisor(
        IOptions<VramdOptions> client, IOptions<VramdSupervisorOptions> options, ILogger<VramdSupervisor> logger)
    {
        _client = client.Value;
        _options = options.Value;
        _logger = logger;
    }

    /// <summary>Leads to it.</summary>
    /// <exception cref="SupervisorNotFoundException">It has not started.</exception>
    internal VramdEndpoint Endpoint => Volatile.Read(ref _supervisor) is { } supervisor
        ? new VramdEndpoint { RuntimeDirectory = supervisor.RuntimeDirectory }
        : throw new SupervisorNotFoundException(
            "SUPERVISOR_NOT_FOUND", "the supervisor of this host starts with the host, which has not started");

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        var options = _options.With(_client, line => Printed(_logger, line));
        var start = _options.Attach
            ? VramdSupervisor.AttachOrStartAsync(options, cancellationToken)
            : VramdSupervisor.StartAsync(options, cancellationToken);
        var supervisor = await start.ConfigureAwait(false);
        Volatile.Write(ref _supervisor, supervisor);
        Running(_logger, supervisor.ProcessId, supervisor.Address, supervisor.RuntimeDirectory);
        _watched = WatchAsync(supervisor);
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => EndAsync(cancellationToken);

    public async ValueTask DisposeAsync() => await EndAsync(CancellationToken.None).ConfigureAwait(false);

    /// <summary>Waits, as the synchronous end of a host does.</summary>
    public void Dispose() => EndAsync(CancellationToken.None).GetAwaiter().GetResult();

    [LoggerMessage(1, LogLevel.Information, "The supervisor {ProcessId} listens on {Address}; runtime folder {Folder}")]
    private static partial void Running(ILogger logger, int processId, string address, string folder);

    [LoggerMessage(2, LogLevel.Debug, "{Line}")]
    private static partial void Printed(ILogger logger, string line);

    [LoggerMessage(3, LogLevel.Error, "The supervisor has ended by itself, with exit code {Code}")]
    private static partial void Ended(ILogger logger, int code);

    private async Task EndAsync(CancellationToken cancellationToken)
    {
        Volatile.Write(ref _stopping, true);
        if (_supervisor is { } supervisor)
        {
            await supervisor.StopAsync(force: false, cancellationToken).ConfigureAwait(false);
            await _watched.ConfigureAwait(false);
        }
    }

    private async Task WatchAsync(VramdSupervisor supervisor)
    {
        if (supervisor.Exited is { } exited)
        {
            var code = await exited.ConfigureAwait(false);
            if (!Volatile.Read(ref _stopping))
            {
                Ended(_logger, code);
            }
        }
    }
}
