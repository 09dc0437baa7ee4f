using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>Answers and vectors are those that the Python SDK gets of the same supervisor, to the last byte.</summary>
public sealed class ParityTests
{
    private const int Asked = 50;

    private static readonly JsonSerializerOptions Snake = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    private static readonly string Script = Path.Combine(Repository.Root, "tests", "support", "sdk_answers.py");

    private sealed record Chat(string Prompt, string Text, IReadOnlyList<int> TokenIds);

    private sealed record Answers(IReadOnlyList<Chat> Chats, IReadOnlyList<string> Texts, IReadOnlyList<string> Vectors);

    [Fact]
    public async Task Text_tokens_and_vectors_are_those_of_the_python_sdk()
    {
        RealSupervisor.SkipWithout();
        var folder = Directory.CreateTempSubdirectory("vp");
        try
        {
            var encoder = Path.Combine(folder.FullName, "encoder.gguf");
            await PythonAsync("encoder", encoder);
            await using var supervisor = await RealSupervisor.StartAsync(
                DemoModels.SameThreads
                + Configuration.File("companion", DemoModels.Companion, ("context", 2048))
                + Configuration.File("encoder", encoder));
            var expected = JsonSerializer.Deserialize<Answers>(
                await PythonAsync("ask", supervisor.Folder), Snake)!;
            Assert.Equal(Asked, expected.Chats.Count);
            Assert.Equal(Asked, expected.Vectors.Count);

            await using var client = VramdClient.Connect(supervisor.Folder);
            foreach (var chat in expected.Chats)
            {
                var text = "";
                var tokens = new List<int>();
                var settings = new AnswerSettings { Temperature = 0, MaxTokens = 40 };
                await foreach (var delta in client.ChatAsync("companion", chat.Prompt, settings))
                {
                    text += delta.Text;
                    tokens.AddRange(delta.TokenIds);
                }
                Assert.Equal(chat.Text, text);
                Assert.Equal(chat.TokenIds, tokens);
            }
            var embeddings = await client.EmbedAsync("encoder", expected.Texts);
            Assert.Equal(expected.Vectors, embeddings.Vectors.Select(Packed));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static string Packed(ReadOnlyMemory<float> vector) =>
        Convert.ToHexStringLower(MemoryMarshal.AsBytes(vector.Span));

    /// <summary>Runs the script with the Python of the tested `vramd`, and returns what it prints.</summary>
    private static async Task<string> PythonAsync(params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(Path.GetDirectoryName(RealSupervisor.Command!)!, "python"))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.ArgumentList.Add(Script);
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }
        start.Environment["PYTHONPATH"] = Path.Combine(Repository.Root, "tests");
        using var process = Process.Start(start)!;
        var printed = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        await Bounds.Until(process.WaitForExitAsync(), "the script of the Python SDK ended", TimeSpan.FromMinutes(3));
        Assert.True(process.ExitCode == 0, await errors);
        return await printed;
    }
}
