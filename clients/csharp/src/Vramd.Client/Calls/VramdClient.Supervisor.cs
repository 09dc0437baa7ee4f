using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

// Memory for other programs, what happens and why, and the supervisor itself.
public partial class VramdClient
{
    private static readonly TimeSpan DefaultTimeToLive = TimeSpan.FromSeconds(60);

    /// <summary>Makes room for bytes that vramd's models do not get; returns when they are free.</summary>
    /// <remarks>
    /// Idle models are evicted, least recently used first; busy ones are waited for. It ends when it is disposed of or
    /// released, after <paramref name="timeToLive"/> by itself, and at the latest with the supervisor.
    /// </remarks>
    /// <param name="sizeBytes">How much.</param>
    /// <param name="device">Id of the device.</param>
    /// <param name="timeToLive">How long; null: a minute.</param>
    /// <param name="label">Names the program that it is for, in messages and listings.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="InvalidRequestException">The size is none, or there is no such device.</exception>
    /// <exception cref="TooLargeException">It is more than the device may ever give.</exception>
    /// <exception cref="MemoryExhaustedException">
    /// Pinned models, other reservations or other programs hold too much of the device.
    /// </exception>
    public virtual Task<MemoryReservation> ReserveAsync(
        long sizeBytes,
        string device = "host",
        TimeSpan? timeToLive = null,
        string label = "",
        CancellationToken cancellationToken = default)
    {
        var time = timeToLive ?? DefaultTimeToLive;
        var request = new V1.ReserveMemoryRequest
        {
            SizeBytes = Requests.Number("size_bytes", sizeBytes),
            Device = Requests.Text("device", device),
            TtlS = time.TotalSeconds,
            Label = Requests.Text("label", label),
        };
        return AskAsync(
            (link, options) => link.Supervisor.ReserveMemoryAsync(request, options),
            reply => new MemoryReservation(this, (long)reply.Reservation)
            {
                Device = device,
                SizeBytes = sizeBytes,
                TimeToLive = time,
                Label = label,
                Waited = Durations.FromSeconds(reply.WaitedS),
            },
            cancellationToken);
    }

    /// <summary>Ends a reservation; says whether it stood until now. Twice is harmless.</summary>
    /// <param name="reservation">Its id.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task<bool> ReleaseAsync(long reservation, CancellationToken cancellationToken = default)
    {
        var request = new V1.ReleaseMemoryRequest { Reservation = Requests.Number("reservation", reservation) };
        return AskAsync(
            (link, options) => link.Supervisor.ReleaseMemoryAsync(request, options),
            static reply => reply.Released,
            cancellationToken);
    }

    /// <summary>Every reservation that stands, of this program or another.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task<IReadOnlyList<StandingReservation>> ReservationsAsync(
        CancellationToken cancellationToken = default) =>
        AskAsync<V1.ListReservationsResponse, IReadOnlyList<StandingReservation>>(
            (link, options) => link.Supervisor.ListReservationsAsync(new(), options),
            static reply => reply.Reservations.Select(Reading.Read).ToArray(),
            cancellationToken);

    /// <summary>Events from now on. Returns when the supervisor watches: of what happens then nothing is missed.</summary>
    /// <remarks>
    /// A program that wants to be called back reads the feed in a task of its own. When the supervisor ends, the feed does
    /// too; another call watches the next one.
    /// </remarks>
    /// <param name="kinds">The kinds that are wanted; null or none means all.</param>
    /// <param name="afterSequence">
    /// Begins behind a remembered event; behind 0 is the oldest that is remembered. Null begins with the next that happens.
    /// </param>
    /// <param name="cancellationToken">Ends the call, and the feed.</param>
    public virtual async Task<EventFeed> WatchAsync(
        IEnumerable<EventKind>? kinds = null, long? afterSequence = null, CancellationToken cancellationToken = default)
    {
        var request = new V1.WatchEventsRequest();
        request.Kinds.AddRange((kinds ?? Array.Empty<EventKind>()).Select(static kind => (V1.EventKind)kind));
        if (afterSequence is { } sequence)
        {
            request.AfterSequence = Requests.Number("after_sequence", sequence);
        }

        var events = Wire.Stream(
            (link, options) => link.Supervisor.WatchEvents(request, options), timeout: null, token: cancellationToken);
        try
        {
            await events.BegunAsync().ConfigureAwait(false);
            return new EventFeed(events);
        }
        catch
        {
            await events.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The last lines that a model's worker printed, or the supervisor.</summary>
    /// <remarks>The call begins when the lines are read. Leaving the loop ends it.</remarks>
    /// <param name="model">Id of the model; empty: the supervisor.</param>
    /// <param name="lines">How many at most.</param>
    /// <param name="follow">Go on with those to come.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">No model has this id.</exception>
    public virtual IAsyncEnumerable<string> LogsAsync(
        string model = "", int lines = 100, bool follow = false, CancellationToken cancellationToken = default)
    {
        var request = new V1.TailLogsRequest
        {
            Model = Requests.Model(model),
            Lines = Requests.Number("lines", lines),
            Follow = follow,
        };
        return ReadLinesAsync(request, cancellationToken);
    }

    /// <summary>Loads, evictions, refusals and degradations, newest first.</summary>
    /// <remarks>They are kept when the supervisor ends: the last 20,000, if they are short.</remarks>
    /// <param name="model">Id of the model that they are about; empty: of all.</param>
    /// <param name="limit">How many at most.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">The model is unknown, and nothing was decided about it.</exception>
    public virtual Task<IReadOnlyList<Decision>> DecisionsAsync(
        string model = "", int limit = 100, CancellationToken cancellationToken = default)
    {
        var request = new V1.ListDecisionsRequest
        {
            Model = Requests.Model(model),
            Limit = Requests.Number("limit", limit),
        };
        return AskAsync<V1.ListDecisionsResponse, IReadOnlyList<Decision>>(
            (link, options) => link.Supervisor.ListDecisionsAsync(request, options),
            static reply => reply.Decisions.Select(Reading.Read).ToArray(),
            cancellationToken);
    }

    /// <summary>The supervisor, its devices and the resident models, at one moment.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task<Status> StatusAsync(CancellationToken cancellationToken = default) =>
        AskAsync((link, options) => link.Supervisor.GetStatusAsync(new(), options), Reading.Read, cancellationToken);

    /// <summary>Every device, counted or not.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task<IReadOnlyList<Device>> DevicesAsync(CancellationToken cancellationToken = default) =>
        AskAsync<V1.ListDevicesResponse, IReadOnlyList<Device>>(
            (link, options) => link.Supervisor.ListDevicesAsync(new(), options),
            static reply => reply.Devices.Select(Reading.Read).ToArray(),
            cancellationToken);

    /// <summary>
    /// Has the supervisor read its configuration file again; returns what has changed, and its effects. Models whose
    /// settings did not change keep their processes.
    /// </summary>
    /// <param name="checkOnly">Take nothing in.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="ConfigInvalidException">The file is wrong; nothing was taken in.</exception>
    public virtual Task<Reloaded> ReloadConfigAsync(
        bool checkOnly = false, CancellationToken cancellationToken = default)
    {
        var request = new V1.ReloadConfigRequest { CheckOnly = checkOnly };
        return AskAsync(
            (link, options) => link.Supervisor.ReloadConfigAsync(request, options), Reading.Read, cancellationToken);
    }

    /// <summary>Has the supervisor admit nothing new, and finish what it has; returns at once.</summary>
    /// <remarks>
    /// New requests, loads, holds, restarts and reservations throw <see cref="DrainingException"/> from now on, and health
    /// says NOT_SERVING.
    /// </remarks>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task<Drained> DrainAsync(CancellationToken cancellationToken = default) =>
        AskAsync((link, options) => link.Supervisor.DrainAsync(new(), options), Reading.Read, cancellationToken);

    /// <summary>Has the supervisor admit work again.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task UndrainAsync(CancellationToken cancellationToken = default) =>
        AskAsync(
            (link, options) => link.Supervisor.UndrainAsync(new(), options), static reply => reply, cancellationToken);

    /// <summary>
    /// Asks the supervisor to end, with all its workers; returns when it has agreed, not when it is gone.
    /// </summary>
    /// <param name="force">Do not let running requests end first.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task ShutdownAsync(bool force = false, CancellationToken cancellationToken = default)
    {
        var request = new V1.ShutdownRequest { Force = force };
        return AskAsync(
            (link, options) => link.Supervisor.ShutdownAsync(request, options), static reply => reply, cancellationToken);
    }

    private async IAsyncEnumerable<string> ReadLinesAsync(
        V1.TailLogsRequest request, [EnumeratorCancellation] CancellationToken token)
    {
        var lines = Wire.Stream(
            (link, options) => link.Supervisor.TailLogs(request, options), timeout: null, token: token);
        await using (lines.ConfigureAwait(false))
        {
            while (await lines.MoveNextAsync(token).ConfigureAwait(false))
            {
                yield return lines.Current.Line;
            }
        }
    }
}
