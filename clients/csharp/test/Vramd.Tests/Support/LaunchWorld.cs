using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Grpc.Core;
using Grpc.Net.Client;

namespace Vramd.Tests.Support;

/// <summary>The folders and files of supervisors that a test launches, and calls to the one that is there.</summary>
internal sealed class LaunchWorld : IDisposable
{
    private readonly DirectoryInfo _own;

    /// <summary><paramref name="configuration"/> is their vramd.toml.</summary>
    public LaunchWorld(string configuration = "")
    {
        RealSupervisor.SkipWithout();
        _own = Directory.CreateTempSubdirectory("vs");
        ConfigFile = Path.Combine(_own.FullName, "vramd.toml");
        File.WriteAllText(ConfigFile, configuration);
    }

    /// <summary>The runtime folder, which the first supervisor makes.</summary>
    public string Folder => Path.Combine(_own.FullName, "run");

    /// <summary>The configuration.</summary>
    public string ConfigFile { get; }

    /// <summary>Keeps what they learn out of the user's folders.</summary>
    public IReadOnlyDictionary<string, string?> Environment => new Dictionary<string, string?>
    {
        ["VRAMD_STATE_DIR"] = Path.Combine(_own.FullName, "state"),
    };

    /// <summary>Starts one here, which is killed only if it hangs.</summary>
    public SupervisorOptions Options => new()
    {
        AskTime = Bounds.Bound,
        GraceTime = Bounds.Bound,
        Command = [RealSupervisor.Command!],
        ConfigFile = ConfigFile,
        RuntimeDirectory = Folder,
        Environment = Environment,
    };

    /// <summary>Loads a model by another client, and returns its process.</summary>
    public async Task<int> LoadAsync(string model)
    {
        using var channel = Channel();
        using var load = new V1.ModelService.ModelServiceClient(channel)
            .LoadModel(new V1.LoadModelRequest { Model = model }, Headers());
        var process = 0;
        while (await Bounds.Until(load.ResponseStream.MoveNext(CancellationToken.None), $"{model} is loaded"))
        {
            process = (int)(load.ResponseStream.Current.Resident?.Pid ?? 0);
        }
        return process;
    }

    /// <summary>Has another client read an answer of so many tokens; waits for its first. The task is its end.</summary>
    public async Task<Task<int>> BeginStreamAsync(string model, int tokens)
    {
        var channel = Channel();
        var request = new V1.GenerateRequest
        {
            Model = model,
            Prompt = { new V1.ContentPart { Text = "x" } },
            Limits = new V1.Limits { MaxTokens = (uint)tokens },
        };
        var stream = new V1.InferenceService.InferenceServiceClient(channel).Generate(request, Headers());
        var count = 0;
        while (count == 0)
        {
            await Bounds.Until(stream.ResponseStream.MoveNext(CancellationToken.None), "a first token");
            count = stream.ResponseStream.Current.TokenIds.Count;
        }
        return ReadAsync();

        async Task<int> ReadAsync()
        {
            using (channel)
            using (stream)
            {
                while (await stream.ResponseStream.MoveNext(CancellationToken.None))
                {
                    count += stream.ResponseStream.Current.TokenIds.Count;
                }
                return count;
            }
        }
    }

    /// <summary>The id of the supervisor that answers here.</summary>
    public async Task<int> SupervisorAsync() => (int)(await InfoAsync()).Pid;

    /// <summary>Waits until the supervisor says that it ends.</summary>
    public Task EndingAsync() => Bounds.Until("it ends", async () => (await InfoAsync()).Ending);

    /// <summary>Removes the folders.</summary>
    public void Dispose() => Folders.DeleteAsync(_own).GetAwaiter().GetResult();

    private async Task<V1.SupervisorInfo> InfoAsync()
    {
        using var channel = Channel();
        var supervisors = new V1.SupervisorService.SupervisorServiceClient(channel);
        var call = supervisors.GetStatusAsync(new V1.GetStatusRequest(), Headers());
        return (await Bounds.Until(call.ResponseAsync, "a status")).Supervisor;
    }

    private GrpcChannel Channel()
    {
        var recorded = Google.Protobuf.WellKnownTypes.Struct.Parser.ParseJson(
            File.ReadAllText(Path.Combine(Folder, "supervisor.json")));
        return GrpcChannel.ForAddress($"http://{recorded.Fields["address"].StringValue}");
    }

    private Metadata Headers() =>
        new() { { "authorization", $"Bearer {File.ReadAllText(Path.Combine(Folder, "token")).Trim()}" } };
}
