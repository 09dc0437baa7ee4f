using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using Google.Protobuf.WellKnownTypes;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>A supervisor is found where Python's SDK finds it, with the same token, and refused for the same reason.</summary>
public sealed class SearchTests : IDisposable
{
    private const string AsPython = """
        import json, sys
        from vramd import VramdError
        from vramd.finding import TlsFiles, find
        given = json.loads(sys.argv[1])
        tls = TlsFiles(given.get("ca"), given.get("client_cert"), given.get("client_key"))
        try:
            place = find(given.get("runtime_dir"), given.get("address"), given.get("token"), given.get("token_file"), tls)
            roots = place.tls and [place.tls.name, place.tls.roots.decode(), bool(place.tls.client_cert)]
            print(json.dumps([place.address, place.token, str(place.address_file or ""), roots]))
        except VramdError as error:
            print(json.dumps([error.reason, error.metadata.get("field", "")]))
        """;

    private readonly DirectoryInfo _own = Directory.CreateTempSubdirectory("vs");

    public static TheoryData<string, string> Cases => new()
    {
        // What the program gives, and the environment: name=value, with FOLDER for the folder of the test.
        { "runtime_dir=FOLDER/run", "" },
        { "runtime_dir=FOLDER/none", "" },
        { "runtime_dir=FOLDER/run", "VRAMD_ADDRESS=10.0.0.1:1 VRAMD_TOKEN=another" },
        { "runtime_dir=FOLDER/bad", "" },
        { "", "VRAMD_RUNTIME_DIR=FOLDER/run" },
        { "", "VRAMD_RUNTIME_DIR=FOLDER/run VRAMD_TOKEN=another" },
        { "", "VRAMD_RUNTIME_DIR=FOLDER/run VRAMD_ADDRESS=10.0.0.1:1" },
        { "", "VRAMD_RUNTIME_DIR=FOLDER/run VRAMD_ADDRESS=127.0.0.1:1234" },
        { "", "VRAMD_ADDRESS=0.0.0.0:5 VRAMD_TOKEN=another" },
        { "", "VRAMD_ADDRESS=[::]:5" },
        { "", "VRAMD_ADDRESS=nowhere" },
        { "", "VRAMD_ADDRESS=nowhere:port" },
        { "", "XDG_RUNTIME_DIR=FOLDER/private" },
        { "", "XDG_RUNTIME_DIR=FOLDER/private/" },
        { "", "XDG_RUNTIME_DIR=FOLDER/open TMPDIR=FOLDER/temp" },
        { "", "XDG_RUNTIME_DIR=FOLDER/link TMPDIR=FOLDER/temp" },
        { "", "XDG_RUNTIME_DIR=relative TMPDIR=FOLDER/temp" },
        { "", "TMPDIR=FOLDER/temp" },
        { "", "TMPDIR=FOLDER/foreign" },
        { "address=10.0.0.1:1", "VRAMD_RUNTIME_DIR=FOLDER/run" },
        { "address=10.0.0.1:1 token=given", "VRAMD_TOKEN=another" },
        { "address=10.0.0.1:1 token_file=FOLDER/run/token", "VRAMD_TOKEN=another" },
        { "address=10.0.0.1:1 token_file=FOLDER/none", "" },
        { "address=10.0.0.1:1 token=\u00e9", "" },
        { "runtime_dir=FOLDER/tls", "" },
        { "runtime_dir=FOLDER/tls ca=FOLDER/run/token", "" },
        { "runtime_dir=FOLDER/tls", "VRAMD_CA=FOLDER/run/token" },
        { "runtime_dir=FOLDER/run client_cert=FOLDER/run/token client_key=FOLDER/run/token", "" },
        { "runtime_dir=FOLDER/tls client_cert=FOLDER/run/token client_key=FOLDER/run/token", "" },
        { "runtime_dir=FOLDER/tls client_cert=FOLDER/run/token", "" },
        { "runtime_dir=FOLDER/tls client_key=FOLDER/run/token", "" },
        { "address=10.0.0.1:1", "VRAMD_CA=FOLDER/none" },
        {
            "address=10.0.0.1:1",
            "VRAMD_CA=FOLDER/run/token VRAMD_CLIENT_CERT=FOLDER/run/token VRAMD_CLIENT_KEY=FOLDER/run/token"
        },
    };

    public void Dispose() => _own.Delete(recursive: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task What_is_found_is_what_python_finds(string given, string environment)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "who may do what in a folder is looked at on Linux");
        var user = (await Python.RunAsync("import os; print(os.geteuid())")).Trim();
        Running("run");
        Running("bad", address: "{");
        Running("tls", tls: "machine.lan");
        foreach (var folder in (string[])["private", "open", $"temp/runtime-{user}", $"foreign/runtime-{user}"])
        {
            Running($"{folder}/vramd", token: folder);
            Restrict(At(folder), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
                | (folder == "open" ? UnixFileMode.GroupRead : 0)
                | (folder.StartsWith("foreign", StringComparison.Ordinal) ? UnixFileMode.OtherWrite : 0));
        }
        File.CreateSymbolicLink(At("link"), At("private"));
        var arguments = Pairs(given);
        var variables = Pairs(environment);
        variables["HOME"] = _own.FullName;
        var json = new Struct();
        foreach (var (name, value) in arguments)
        {
            json.Fields[name] = Value.ForString(value);
        }
        var asPython = await Python.RunAsync(AsPython, variables, json.ToString());
        Assert.Equal(Value.Parser.ParseJson(asPython), Found(arguments, name => variables.GetValueOrDefault(name)));
    }

    [Fact]
    public void Whether_one_is_there_can_be_asked()
    {
        Running("run");
        Assert.True(VramdEndpoint.TryFind(out var endpoint, At("run")));
        Assert.Equal(At("run"), endpoint.RuntimeDirectory);
        Assert.False(VramdEndpoint.TryFind(out _, At("none")));
        var error = Assert.Throws<SupervisorNotFoundException>(() => VramdClient.Connect(At("none")));
        Assert.EndsWith($"start one with: vramd serve --models DIR --runtime-dir \"{At("none")}\"", error.Message);
    }

    [Fact]
    public void A_token_is_not_printed() =>
        Assert.DoesNotContain("secret", new VramdEndpoint { Address = "a:1", Token = "secret" }.ToString());

    private static Value Found(Dictionary<string, string> given, Func<string, string?> environment)
    {
        try
        {
            var place = new Search(
                new VramdEndpoint
                {
                    RuntimeDirectory = given.GetValueOrDefault("runtime_dir"),
                    Address = given.GetValueOrDefault("address"),
                    Token = given.GetValueOrDefault("token"),
                    TokenFile = given.GetValueOrDefault("token_file"),
                    CertificateAuthority = given.GetValueOrDefault("ca"),
                    ClientCertificate = given.GetValueOrDefault("client_cert"),
                    ClientKey = given.GetValueOrDefault("client_key"),
                },
                environment).Look();
            var tls = place.Tls is not { } one
                ? Value.ForNull()
                : List(Text(one.Name), Text(one.Roots), Value.ForBool(one.ClientCertificate is not null));
            return List(Text(place.Address), Text(place.Token), Text(place.AddressFile ?? ""), tls);
        }
        catch (VramdException error)
        {
            return List(Text(error.Reason), Text((error as InvalidRequestException)?.Field ?? ""));
        }
    }

    private static void Restrict(string folder, UnixFileMode mode)
    {
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(folder, mode);
        }
    }

    private static Value Text(string text) => Value.ForString(text);

    private static Value List(params Value[] values) => Value.ForList(values);

    private Dictionary<string, string> Pairs(string text) => text
        .Split(' ', StringSplitOptions.RemoveEmptyEntries)
        .Select(pair => pair.Replace("FOLDER", _own.FullName).Split('=', 2))
        .ToDictionary(pair => pair[0], pair => pair[1]);

    private string At(string name) => Path.Combine(_own.FullName, name);

    private void Running(string folder, string address = "127.0.0.1:1234", string token = "secret", string tls = "")
    {
        Directory.CreateDirectory(At(folder));
        var json = new Struct
        {
            Fields =
            {
                ["address"] = Text(address), ["pid"] = Value.ForNumber(1), ["version"] = Text("0"), ["tls_name"] = Text(tls),
            },
        };
        File.WriteAllText(At($"{folder}/supervisor.json"), address == "{" ? address : json.ToString());
        File.WriteAllText(At($"{folder}/token"), token + "\n");
        File.WriteAllText(At($"{folder}/certificate.pem"), "a certificate");
    }
}
