namespace Vramd;

/// <summary>Where a supervisor is, and the token that it expects.</summary>
/// <param name="Address">host:port.</param>
/// <param name="Token">Empty: none is known, and calls will be refused.</param>
/// <param name="AddressFile">
/// Lies there as long as the supervisor lives; null if it was found by an address of another place.
/// </param>
/// <param name="Tls">Null: it is called without TLS.</param>
internal sealed record Place(string Address, string Token, string? AddressFile = null, Tls? Tls = null);

/// <summary>What a channel needs for TLS; all in PEM.</summary>
/// <param name="Roots">Certificates of which the supervisor's must be one, or signed by one.</param>
/// <param name="Name">A host that its certificate is for; empty: that of the address.</param>
/// <param name="ClientCertificate">The program's own, for a supervisor that wants one.</param>
/// <param name="ClientKey">The key of that.</param>
internal sealed record Tls(string Roots, string Name, string? ClientCertificate = null, string? ClientKey = null);
