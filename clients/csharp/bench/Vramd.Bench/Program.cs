using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using Vramd;
using Vramd.Bench;

const string Usage = """
    Measures clients in turn against one supervisor: Vramd.Client, the bare stub of grpc-dotnet, and grpcio.

    dotnet run -c Release -- [--python PYTHON] [--rounds N] [--tokens N] [--pace TOKENS_PER_S] [--calls N] [--json]
        [--readme FILE]

    PYTHON has vramd installed; default: python3. Without a pace, tokens come as fast as the supervisor passes them on.
    FILE gets the table, between <!-- bench --> and <!-- /bench -->.
    """;
const string Model = "stream";
const int Warming = 2; // rounds in which code is compiled and connections open

var (python, rounds, tokens, pace, calls, json, readme) = ("python3", 5, 5000, 100_000, 500, false, (string?)null);
for (var at = 0; at < args.Length; at++)
{
    string Next() => ++at < args.Length ? args[at] : throw new ArgumentException($"{args[at - 1]} needs a value");
    switch (args[at])
    {
        case "--python": python = Next(); break;
        case "--rounds": rounds = int.Parse(Next()); break;
        case "--tokens": tokens = int.Parse(Next()); break;
        case "--pace": pace = int.Parse(Next()); break;
        case "--calls": calls = int.Parse(Next()); break;
        case "--json": json = true; break;
        case "--readme": readme = Next(); break;
        default: Console.WriteLine(Usage); return args[at] is "-h" or "--help" ? 0 : 2;
    }
}

var folder = Directory.CreateTempSubdirectory("vb");
try
{
    var configuration = Path.Combine(folder.FullName, "vramd.toml");
    await File.WriteAllTextAsync(configuration, $$"""
        [models.{{Model}}]
        engine = "simulated"
        memory = { host = "60MiB" }
        load_s = 0.1
        tokens_per_s = {{pace}}
        """);
    var options = new SupervisorOptions
    {
        Command = [python, "-m", "vramd"],
        ConfigFile = configuration,
        RuntimeDirectory = Path.Combine(folder.FullName, "run"),
    };
    await using var supervisor = await VramdSupervisor.StartAsync(options);
    var token = (await File.ReadAllTextAsync(Path.Combine(supervisor.RuntimeDirectory, "token"))).Trim();
    await using var sdk = new SdkArm(VramdClient.Connect(supervisor.RuntimeDirectory), Model);
    await using var stub = new StubArm(supervisor.Address, token, Model);
    await using var grpcio = new GrpcioArm(python, supervisor.RuntimeDirectory, Model);
    IArm[] arms = [sdk, stub, grpcio];

    var measured = arms.ToDictionary(arm => arm.Name, _ => new List<Figures>());
    for (var round = 0; round < Warming + rounds; round++)
    {
        foreach (var arm in arms)
        {
            var figures = await arm.RunAsync(tokens, calls);
            if (round >= Warming)
            {
                measured[arm.Name].Add(figures);
            }
        }
    }

    var report = new Report(measured.ToDictionary(one => one.Key, one => (IReadOnlyList<Figures>)one.Value));
    if (json)
    {
        Console.WriteLine(JsonSerializer.Serialize(report, new JsonSerializerOptions { WriteIndented = true }));
    }
    else
    {
        Console.Write(report.Table());
        foreach (var bar in report.Bars)
        {
            Console.WriteLine(FormattableString.Invariant(
                $"{bar.What}: {bar.Value:0.00}, at most {bar.Most}: {(bar.Held ? "held" : "MISSED")}"));
        }
    }
    if (readme is not null)
    {
        report.Write(readme);
    }
    return 0;
}
finally
{
    folder.Delete(recursive: true);
}
