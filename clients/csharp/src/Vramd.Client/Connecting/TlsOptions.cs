#if NET
using System;
using System.Linq;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace Vramd;

/// <summary>How the certificate of a supervisor is looked at, and which one it is shown.</summary>
internal static class TlsOptions
{
    /// <exception cref="InvalidRequestException">A file is no certificate or key in PEM.</exception>
    internal static SslClientAuthenticationOptions Of(Tls tls)
    {
        var roots = new X509Certificate2Collection();
        var options = new SslClientAuthenticationOptions();
        try
        {
            roots.ImportFromPem(tls.Roots);
            if (tls.ClientCertificate is not null)
            {
                options.ClientCertificates = [Usable(X509Certificate2.CreateFromPem(tls.ClientCertificate, tls.ClientKey))];
            }
        }
        catch (System.Security.Cryptography.CryptographicException error)
        {
            throw Failures.Invalid("ca", $"a certificate or key cannot be read: {error.Message}");
        }

        options.RemoteCertificateValidationCallback = (_, shown, chain, errors) =>
            shown is X509Certificate2 certificate
            && !errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch)
            && IsTrusted(certificate, chain, roots);
        return options;
    }

    /// <summary>Windows shows no certificate whose key was only read.</summary>
    private static X509Certificate2 Usable(X509Certificate2 own) => OperatingSystem.IsWindows()
        ? X509CertificateLoader.LoadPkcs12(own.Export(X509ContentType.Pkcs12), password: null)
        : own;

    private static bool IsTrusted(X509Certificate2 shown, X509Chain? with, X509Certificate2Collection roots)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(roots);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        if (with is not null)
        {
            chain.ChainPolicy.ExtraStore.AddRange(with.ChainPolicy.ExtraStore);
        }

        // One that is itself among the roots needs no other that signed it.
        if (roots.Any(root => root.RawDataMemory.Span.SequenceEqual(shown.RawDataMemory.Span)))
        {
            chain.ChainPolicy.VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority;
        }

        return chain.Build(shown);
    }
}
#endif
