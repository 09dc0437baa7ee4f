namespace Vramd;

/// <summary>
/// The supervisor that a client calls: that at <see cref="Address"/>, else in <see cref="RuntimeDirectory"/>, else at
/// VRAMD_ADDRESS, else in the default runtime folder (VRAMD_RUNTIME_DIR). What is not given comes from there.
/// </summary>
/// <remarks>
/// The token is <see cref="Token"/>, else that in <see cref="TokenFile"/>, else VRAMD_TOKEN, else that of the runtime
/// folder; with a <see cref="RuntimeDirectory"/> its own comes before VRAMD_TOKEN, which may be another supervisor's.
/// An address that is not the runtime folder's own never gets the folder's token. A supervisor that serves by TLS and is
/// found by its runtime folder needs no <see cref="CertificateAuthority"/>: its certificate lies there.
/// </remarks>
public sealed record VramdEndpoint
{
    /// <summary>The folder where the supervisor leaves its address and its tokens.</summary>
    public string? RuntimeDirectory { get; init; }

    /// <summary>host:port.</summary>
    public string? Address { get; init; }

    /// <summary>The token that the supervisor expects.</summary>
    public string? Token { get; init; }

    /// <summary>The file with the token; it is read again when another supervisor is found.</summary>
    public string? TokenFile { get; init; }

    /// <summary>
    /// File in PEM: certificates of which the supervisor's must be one, or signed by one. It makes the calls TLS.
    /// Otherwise VRAMD_CA.
    /// </summary>
    public string? CertificateAuthority { get; init; }

    /// <summary>
    /// File in PEM: the program's own certificate, for a supervisor that wants one. Otherwise VRAMD_CLIENT_CERT.
    /// </summary>
    public string? ClientCertificate { get; init; }

    /// <summary>File in PEM: the key of that certificate. Otherwise VRAMD_CLIENT_KEY.</summary>
    public string? ClientKey { get; init; }

    /// <summary>Looks whether a supervisor has left its address in a runtime folder. Reads files only.</summary>
    /// <param name="endpoint">Leads to it, and to one that takes its place later.</param>
    /// <param name="runtimeDirectory">The folder; null: VRAMD_ADDRESS, else the default one.</param>
    /// <exception cref="VramdException">There is an address, but a file beside it cannot be read.</exception>
    public static bool TryFind(out VramdEndpoint endpoint, string? runtimeDirectory = null)
    {
        endpoint = new VramdEndpoint { RuntimeDirectory = runtimeDirectory };
        try
        {
            _ = new Search(endpoint).Look();
            return true;
        }
        catch (SupervisorNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Says where it is, without the token.</summary>
    public override string ToString() => $"{nameof(VramdEndpoint)} {{ {Address ?? RuntimeDirectory ?? "the default"} }}";
}
