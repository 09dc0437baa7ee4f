using System;
using System.Threading;
using System.Threading.Tasks;
using Grpc.Core;

namespace Vramd;

/// <summary>
/// Calls to one supervisor: they are methods, their answers values, their failures <see cref="VramdException"/>s.
/// </summary>
/// <remarks>
/// <para>It is safe for all threads; a program has one for its whole life. Where the supervisor was found by its runtime
/// folder and another has taken its place, calls go to that one.</para>
/// <para>A call that has one answer may take <see cref="VramdClientOptions.Timeout"/>, then it ends with
/// <see cref="DeadlinePassedException"/>; a stream only what <see cref="AskSettings.Timeout"/> says. A cancelled token ends
/// a call in the supervisor too, with <see cref="OperationCanceledException"/>. Up to two retries follow where the
/// supervisor could not begin to answer and says that waiting helps.</para>
/// <para>Every call may throw, beside what it says itself: <see cref="InvalidRequestException"/> for an argument out of
/// range, <see cref="TokenRefusedException"/>, <see cref="ScopeDeniedException"/> where the token is for use only and the
/// call changes something, <see cref="SupervisorUnreachableException"/>, <see cref="ShuttingDownException"/>,
/// <see cref="UnimplementedException"/> where the supervisor is older than this client,
/// <see cref="ClientClosedException"/>, and <see cref="InternalException"/> for a fault of vramd.</para>
/// <para>For tests of a program a class derived from this one overrides calls.</para>
/// </remarks>
public partial class VramdClient : IAsyncDisposable, IDisposable
{
    private readonly Connection? _connection;
    private readonly VramdClientOptions _options = new();

    /// <summary>Finds a supervisor by what a program knows of it. Reads files, and calls nothing.</summary>
    /// <param name="endpoint">Where it is.</param>
    /// <param name="options">How calls are made.</param>
    /// <exception cref="SupervisorNotFoundException">There is none; the message says how to start one.</exception>
    /// <exception cref="TokenRefusedException">A token file cannot be read.</exception>
    /// <exception cref="InvalidRequestException">The address has no port, or a certificate cannot be read.</exception>
    public VramdClient(VramdEndpoint endpoint, VramdClientOptions? options = null)
    {
        _options = options ?? _options;
        _connection = new Connection(new Search(endpoint ?? throw new ArgumentNullException(nameof(endpoint))).Look, _options);
    }

    private VramdClient(Connection connection, VramdClientOptions options)
    {
        _options = options;
        _connection = connection;
    }

    /// <summary>Makes a client without a supervisor, for a class that overrides the calls.</summary>
    protected VramdClient()
    {
    }

    /// <summary>host:port of the supervisor that was found last.</summary>
    public virtual string Address => Wire.Place.Address;

    /// <summary>
    /// A file that exists as long as the supervisor lives; null if it was found by the address of another place.
    /// </summary>
    public virtual string? AddressFile => Wire.Place.AddressFile;

    private Connection Wire =>
        _connection ?? throw new InvalidOperationException("a client without a supervisor has only the calls that it overrides");

    /// <summary>Finds a supervisor by its runtime folder. Reads files, and calls nothing.</summary>
    /// <param name="runtimeDirectory">The folder; null: VRAMD_ADDRESS, else the default one (VRAMD_RUNTIME_DIR).</param>
    /// <param name="options">How calls are made.</param>
    /// <exception cref="SupervisorNotFoundException">There is none; the message says how to start one.</exception>
    public static VramdClient Connect(string? runtimeDirectory = null, VramdClientOptions? options = null) =>
        new(new VramdEndpoint { RuntimeDirectory = runtimeDirectory }, options);

    /// <summary>A client that looks for its supervisor at its first call, which may throw as the constructor does.</summary>
    /// <param name="endpoint">Says where it is, each time that it is looked for.</param>
    /// <param name="options">How calls are made.</param>
    internal static VramdClient FoundLater(Func<VramdEndpoint> endpoint, VramdClientOptions options) =>
        new(new Connection(() => new Search(endpoint()).Look(), options, isLater: true), options);

    /// <summary>Ends the calls that still run, and the connection. Idempotent.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc cref="Dispose()"/>
    public ValueTask DisposeAsync()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
        return default;
    }

    /// <summary>Ends the calls that still run, and the connection.</summary>
    /// <param name="disposing">False from a finalizer.</param>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
        {
            _connection?.Dispose();
        }
    }

    private async Task<TValue> AskAsync<TReply, TValue>(
        Func<Link, CallOptions, AsyncUnaryCall<TReply>> call, Func<TReply, TValue> read, CancellationToken token) =>
        read(await Wire.AskAsync(call, _options.Timeout, token).ConfigureAwait(false));
}
