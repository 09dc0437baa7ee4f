using System;
using System.IO;
using System.Net.Http;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>Handlers and TLS.</summary>
public sealed class TransportTests(SimulatedSupervisor simulated) : IDisposable
{
    private readonly DirectoryInfo _own = Directory.CreateTempSubdirectory("vs");

    public void Dispose() => _own.Delete(recursive: true);

    [Fact]
    public async Task A_handler_without_http_2_is_explained()
    {
        using var client = await simulated.ClientAsync(new() { HttpHandler = () => new OldHandler() });
        var error = await Assert.ThrowsAnyAsync<VramdException>(() => client.StatusAsync());
        Assert.True(error.Message.Contains("does not speak HTTP/2", StringComparison.Ordinal), error + " " + error.Message);
    }

    [Fact]
    public async Task A_supervisor_with_a_certificate_for_another_name_is_found_by_its_folder()
    {
        var (lan, other) = (Pair("lan", "machine.lan"), Pair("other", "machine.lan"));
        await using var supervisor = await RealSupervisor.StartAsync(
            arguments: ["--tls-cert", lan.Certificate, "--tls-key", lan.Key]);
        await using var client = VramdClient.Connect(supervisor.Folder);
        Assert.Equal(supervisor.Process.Id, (await client.StatusAsync()).Supervisor.ProcessId);

        var stranger = new VramdEndpoint
        {
            Address = supervisor.Address, Token = supervisor.Token, CertificateAuthority = other.Certificate,
        };
        var error = await Assert.ThrowsAsync<SupervisorUnreachableException>(() => StatusAsync(stranger));
        Assert.Contains("no TLS with the supervisor", error.Message);
        await Assert.ThrowsAsync<SupervisorUnreachableException>(
            () => StatusAsync(stranger with { CertificateAuthority = lan.Certificate, Address = Elsewhere(supervisor) }));
    }

    [Fact]
    public async Task One_that_an_authority_has_signed_is_trusted_and_shown_the_programs_own()
    {
        var (authority, own) = (Pair("authority", "an.authority"), Pair("own", "a.client"));
        var server = Pair("server", "localhost", authority);
        await using var supervisor = await RealSupervisor.StartAsync(
            arguments: ["--tls-cert", server.Certificate, "--tls-key", server.Key, "--tls-client-ca", own.Certificate]);
        var endpoint = new VramdEndpoint
        {
            Address = Elsewhere(supervisor),
            Token = supervisor.Token,
            CertificateAuthority = authority.Certificate,
            ClientCertificate = own.Certificate,
            ClientKey = own.Key,
        };
        Assert.Equal(supervisor.Process.Id, await StatusAsync(endpoint));
        await Assert.ThrowsAsync<SupervisorUnreachableException>(
            () => StatusAsync(endpoint with { ClientCertificate = null, ClientKey = null }));
    }

    private static string Elsewhere(RealSupervisor supervisor) =>
        $"localhost:{supervisor.Address[(supervisor.Address.LastIndexOf(':') + 1)..]}";

    private static async Task<int> StatusAsync(VramdEndpoint endpoint)
    {
        await using var client = new VramdClient(endpoint, new() { Timeout = TimeSpan.FromSeconds(30) });
        return (await client.StatusAsync()).Supervisor.ProcessId;
    }

    private (string Certificate, string Key) Pair(string file, string host, (string Certificate, string Key)? by = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={file}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(host);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(by is null, false, 0, critical: true));
        var (from, until) = (DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(20));
        using var issuer = by is null ? null : X509Certificate2.CreateFromPemFile(by.Value.Certificate, by.Value.Key);
        using var certificate = issuer is null
            ? request.CreateSelfSigned(from, until)
            : request.Create(issuer, from.AddMinutes(1), until.AddMinutes(-1), [1, 2, 3]);
        var (to, of) = (Path.Combine(_own.FullName, file + ".pem"), Path.Combine(_own.FullName, file + ".key"));
        File.WriteAllText(to, certificate.ExportCertificatePem());
        File.WriteAllText(of, key.ExportPkcs8PrivateKeyPem());
        return (to, of);
    }

    private sealed class OldHandler() : DelegatingHandler(new SocketsHttpHandler())
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            request.Version = new Version(1, 1);
            request.VersionPolicy = HttpVersionPolicy.RequestVersionExact;
            return base.SendAsync(request, cancellationToken);
        }
    }
}
