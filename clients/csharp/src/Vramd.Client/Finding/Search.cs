using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

namespace Vramd;

/// <summary>
/// Finds a supervisor, as often as needed: one that was restarted has another port and another token. Reads files only.
/// </summary>
internal sealed class Search
{
    private static readonly Dictionary<string, string> Reachable = new()
    {
        // A supervisor on all interfaces is reached through the loopback one.
        ["0.0.0.0"] = "127.0.0.1",
        ["[::]"] = "[::1]",
    };

    private readonly VramdEndpoint _endpoint;
    private readonly Func<string, string?> _environment;
    private readonly string? _address;
    private readonly RuntimeFolder? _folder;
    private readonly string? _tokenFile;
    private readonly string? _authority;
    private readonly string? _certificate;
    private readonly string? _key;

    /// <param name="endpoint">What the program knows of it.</param>
    /// <param name="environment">Gives the value of a variable; null: that of this process.</param>
    /// <exception cref="SupervisorNotFoundException">There can be no default runtime folder.</exception>
    /// <exception cref="InvalidRequestException">A client's certificate is given without its key.</exception>
    internal Search(VramdEndpoint endpoint, Func<string, string?>? environment = null)
    {
        _endpoint = endpoint;
        _environment = environment ?? Environment.GetEnvironmentVariable;
        _address = endpoint.Address;
        if (_address is null && endpoint.RuntimeDirectory is null)
        {
            _address = FromEnvironment("VRAMD_ADDRESS");
        }

        _folder = Folder(endpoint.RuntimeDirectory, isNeeded: _address is null);
        _tokenFile = Absolute(endpoint.TokenFile);
        _authority = Absolute(endpoint.CertificateAuthority);
        _certificate = Absolute(endpoint.ClientCertificate ?? FromEnvironment("VRAMD_CLIENT_CERT"));
        _key = Absolute(endpoint.ClientKey ?? FromEnvironment("VRAMD_CLIENT_KEY"));
        if (_certificate is null != _key is null)
        {
            throw Failures.Invalid(
                _certificate is null ? "client_cert" : "client_key",
                "a client's certificate and its key go together: give both, or none");
        }
    }

    /// <summary>Looks where it is now.</summary>
    /// <exception cref="SupervisorNotFoundException">There is none.</exception>
    /// <exception cref="TokenRefusedException">The token cannot be read, or is none.</exception>
    /// <exception cref="InvalidRequestException">The address has no port, or a file in PEM cannot be read.</exception>
    internal Place Look()
    {
        var recorded = _folder?.ReadAddress();
        var address = _address ?? recorded?.Address ?? throw NotFound();
        var own = recorded?.Address == address ? _folder : null;
        var token = Checked(Token(own).Trim());
        return new Place(ReachableAddress(address), token, own?.AddressFile, Tls(own, recorded?.TlsName ?? ""));
    }

    private RuntimeFolder? Folder(string? given, bool isNeeded)
    {
        try
        {
            return new RuntimeFolder(given ?? RuntimeFolder.Default(_environment));
        }
        catch (SupervisorNotFoundException) when (!isNeeded)
        {
            return null;
        }
    }

    private static string ReachableAddress(string address)
    {
        var colon = address.LastIndexOf(':');
        var port = address.Substring(colon + 1);
        if (colon < 1 || port.Length == 0 || port.Any(one => one is < '0' or > '9'))
        {
            throw Failures.Invalid("address", $"the address is no HOST:PORT: {address}");
        }

        var host = address.Substring(0, colon);
        return $"{(Reachable.TryGetValue(host, out var other) ? other : host)}:{port}";
    }

    private static string ReadToken(string file)
    {
        try
        {
            return File.ReadAllText(file, new UTF8Encoding(false, throwOnInvalidBytes: true));
        }
        catch (Exception error) when (IsOfFiles(error) || error is ArgumentException)
        {
            throw new TokenRefusedException(
                Reasons.TokenMissing, $"the token file cannot be read: {error.Message}");
        }
    }

    private static string ReadPem(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception error) when (IsOfFiles(error))
        {
            throw Failures.Invalid("ca", $"the certificate or key cannot be read: {error.Message}");
        }
    }

    private static string Checked(string token) => token.Any(one => one is < '!' or > '~')
        ? throw new TokenRefusedException(
            Reasons.TokenInvalid, "the token has characters that no token of vramd has")
        : token;

    private static bool IsOfFiles(Exception error) => error is IOException or UnauthorizedAccessException;

    private static string? Absolute(string? file) => file is null ? null : Path.GetFullPath(file);

    private string? FromEnvironment(string variable) => _environment(variable) is { Length: > 0 } value ? value : null;

    private string Token(RuntimeFolder? own)
    {
        if (_endpoint.Token is { } given)
        {
            return given;
        }

        if (_tokenFile is not null)
        {
            return ReadToken(_tokenFile);
        }

        var named = FromEnvironment("VRAMD_TOKEN");
        var isOurs = own is not null && (_endpoint.RuntimeDirectory is not null || named is null);
        return isOurs && File.Exists(own!.TokenFile) ? ReadToken(own.TokenFile) : named ?? "";
    }

    private Tls? Tls(RuntimeFolder? own, string name)
    {
        var roots = _authority
            ?? (own is null ? Absolute(FromEnvironment("VRAMD_CA")) : name.Length > 0 ? own.CertificateFile : null);
        if (roots is not null)
        {
            return new Tls(
                ReadPem(roots),
                own is null ? "" : name,
                _certificate is null ? null : ReadPem(_certificate),
                _key is null ? null : ReadPem(_key));
        }

        return _endpoint.ClientCertificate is null && _endpoint.ClientKey is null
            ? null
            : throw Failures.Invalid(
                "ca", "a client's certificate is for TLS, which needs CertificateAuthority: the certificate to trust");
    }

    private SupervisorNotFoundException NotFound()
    {
        var flag = _endpoint.RuntimeDirectory is null ? "" : $" --runtime-dir \"{_folder!.Path}\"";
        return RuntimeFolder.NotFound(
            $"no supervisor runs in {_folder!.Path}; start one with: vramd serve --models DIR{flag}");
    }
}
