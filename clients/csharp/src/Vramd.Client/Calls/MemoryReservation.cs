using System;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>
/// Bytes of a device that vramd's models do not get, until it is disposed of; at the latest until its time is over.
/// </summary>
public class MemoryReservation : IAsyncDisposable
{
    private readonly VramdClient _client;

    /// <summary>Makes the object of a reservation; for classes that override <see cref="VramdClient.ReserveAsync"/>.</summary>
    /// <param name="client">Releases it.</param>
    /// <param name="id">Its id.</param>
    public MemoryReservation(VramdClient client, long id)
    {
        _client = client;
        Id = id;
    }

    /// <summary>Its id, for <see cref="VramdClient.ReleaseAsync"/>.</summary>
    public long Id { get; }

    /// <summary>Id of the device.</summary>
    public string Device { get; init; } = "";

    /// <summary>Bytes that it is for.</summary>
    public long SizeBytes { get; init; }

    /// <summary>The time after which it ends by itself, from its beginning.</summary>
    public TimeSpan TimeToLive { get; init; }

    /// <summary>Name of the program that it is for, given by the caller.</summary>
    public string Label { get; init; } = "";

    /// <summary>The time that it took to make the room.</summary>
    public TimeSpan Waited { get; init; }

    /// <summary>Ends it, as <see cref="VramdClient.ReleaseAsync"/> does. Idempotent.</summary>
    /// <exception cref="VramdException">
    /// The supervisor did not hear of it, and lives: the reservation stands until its time is over.
    /// </exception>
    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        try
        {
            await _client.ReleaseAsync(Id).ConfigureAwait(false);
        }
        catch (UnavailableException)
        {
            // It ended with its supervisor.
        }
    }
}
