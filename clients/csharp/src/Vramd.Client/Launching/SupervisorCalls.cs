using System;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>
/// What a launcher asks of the one supervisor that it has found: never of a later one that has its runtime folder.
/// </summary>
internal sealed class SupervisorCalls : IDisposable
{
    private readonly Connection _connection;

    /// <param name="folder">The runtime folder.</param>
    /// <param name="options">How calls are made.</param>
    /// <exception cref="SupervisorNotFoundException">There is none.</exception>
    internal SupervisorCalls(string folder, VramdClientOptions? options)
    {
        var place = new Search(new VramdEndpoint { RuntimeDirectory = folder }).Look();
        _connection = new Connection(() => place, options ?? new VramdClientOptions());
    }

    internal Place Place => _connection.Place;

    public void Dispose() => _connection.Dispose();

    /// <summary>What it says of itself.</summary>
    /// <exception cref="VramdException">It does not answer.</exception>
    internal async Task<V1.SupervisorInfo> InfoAsync(TimeSpan limit, CancellationToken cancellationToken)
    {
        var status = await _connection.AskAsync(
            (link, how) => link.Supervisor.GetStatusAsync(new V1.GetStatusRequest(), how), limit, cancellationToken)
            .ConfigureAwait(false);
        return status.Supervisor;
    }

    /// <summary>Asks it to end.</summary>
    /// <exception cref="VramdException">It does not agree.</exception>
    internal Task ShutdownAsync(bool force, TimeSpan limit) => _connection.AskAsync(
        (link, how) => link.Supervisor.ShutdownAsync(new V1.ShutdownRequest { Force = force }, how), limit,
        CancellationToken.None);
}
