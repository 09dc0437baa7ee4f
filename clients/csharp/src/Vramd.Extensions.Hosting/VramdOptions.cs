using System;

namespace Vramd;

/// <summary>
/// How a program finds its supervisor and calls it: the section <c>Vramd</c> of the configuration. What is null comes
/// from the environment, as <see cref="VramdEndpoint"/> says.
/// </summary>
public sealed class VramdOptions
{
    /// <summary>The section of the configuration that is bound to these options.</summary>
    public const string Section = "Vramd";

    /// <inheritdoc cref="VramdEndpoint.RuntimeDirectory"/>
    public string? RuntimeDirectory { get; set; }

    /// <inheritdoc cref="VramdEndpoint.Address"/>
    public string? Address { get; set; }

    /// <inheritdoc cref="VramdEndpoint.Token"/>
    public string? Token { get; set; }

    /// <inheritdoc cref="VramdEndpoint.TokenFile"/>
    public string? TokenFile { get; set; }

    /// <inheritdoc cref="VramdEndpoint.CertificateAuthority"/>
    public string? CertificateAuthority { get; set; }

    /// <inheritdoc cref="VramdEndpoint.ClientCertificate"/>
    public string? ClientCertificate { get; set; }

    /// <inheritdoc cref="VramdEndpoint.ClientKey"/>
    public string? ClientKey { get; set; }

    /// <inheritdoc cref="VramdClientOptions.Timeout"/>
    public TimeSpan? Timeout { get; set; }

    /// <inheritdoc cref="VramdClientOptions.MaxAttempts"/>
    public int MaxAttempts { get; set; } = new VramdClientOptions().MaxAttempts;

    internal VramdEndpoint Endpoint => new()
    {
        RuntimeDirectory = RuntimeDirectory,
        Address = Address,
        Token = Token,
        TokenFile = TokenFile,
        CertificateAuthority = CertificateAuthority,
        ClientCertificate = ClientCertificate,
        ClientKey = ClientKey,
    };

    internal VramdClientOptions Client => new() { Timeout = Timeout, MaxAttempts = MaxAttempts };
}
