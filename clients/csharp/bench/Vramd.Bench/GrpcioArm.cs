using System;
using System.Diagnostics;
using System.IO;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Threading.Tasks;

namespace Vramd.Bench;

/// <summary>The stubs that grpcio-tools generates, over a channel of grpcio, in a Python process that lives as long.</summary>
internal sealed class GrpcioArm : IArm
{
    private static readonly JsonSerializerOptions Snake = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    private readonly Process _process;

    internal GrpcioArm(string python, string runtimeDirectory, string model)
    {
        var start = new ProcessStartInfo(python) { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (var argument in new[] { Script(), runtimeDirectory, model })
        {
            start.ArgumentList.Add(argument);
        }
        _process = Process.Start(start)!;
    }

    public string Name => "grpcio";

    public async Task<Figures> RunAsync(int tokens, int calls)
    {
        await _process.StandardInput.WriteLineAsync($"{tokens} {calls}");
        await _process.StandardInput.FlushAsync();
        var line = await _process.StandardOutput.ReadLineAsync()
            ?? throw new InvalidOperationException("the Python of the arm `grpcio` has ended");
        return JsonSerializer.Deserialize<Figures>(line, Snake)!;
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    /// <summary>The file beside this one.</summary>
    private static string Script([CallerFilePath] string path = "") =>
        Path.Combine(Path.GetDirectoryName(path)!, "grpcio_arm.py");
}
