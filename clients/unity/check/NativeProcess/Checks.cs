using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Vramd.Unity;

namespace Vramd.Unity.Check;

/// <summary>
/// What must hold of a process that <see cref="NativeProcessStarter"/> has started on Linux. They run in two programs:
/// compiled by the runtime, and ahead of time, which is what IL2CPP does.
/// </summary>
internal static class Checks
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);
    private static readonly Dictionary<string, string> Variables = new()
    {
        ["PATH"] = "/usr/bin:/bin",
        ["ONE"] = "ä 1",
    };

    public static IReadOnlyDictionary<string, Func<Task>> All { get; } = new Dictionary<string, Func<Task>>
    {
        ["it reads its stdin to the end, and writes"] = async () =>
        {
            using var process = Shell("cat; echo over >&2");
            var text = string.Concat(Enumerable.Repeat("0123456789", 100_000));
            var said = SaidAsync(process.StandardOutput);
            await process.StandardInput.WriteAsync(Encoding.UTF8.GetBytes(text));
            process.StandardInput.Dispose();
            Same(text, await said.WaitAsync(Bound));
            Same("over\n", await SaidAsync(process.StandardError).WaitAsync(Bound));
            Same(0, await process.Exited.WaitAsync(Bound));
        },
        ["it has the given folder and variables, and no others"] = async () =>
        {
            Same("/\nä 1\n", await OutputAsync("pwd; echo \"$ONE\""));
            Same("1\n", await OutputAsync("env | grep -c '^ONE='"));
            Same("0\n", await OutputAsync("env | grep -c '^HOME='"));
        },
        ["its arguments come as they are given"] = async () =>
        {
            using var process = new NativeProcessStarter().Start(
                ["/usr/bin/printf", "%s|", "a b", "", "\"'$ä"], "/", Variables);
            Same("a b||\"'$ä|", await SaidAsync(process.StandardOutput).WaitAsync(Bound));
        },
        ["its exit code is known, and the signal that ended it"] = async () =>
        {
            using var ended = Shell("exit 7");
            Same(7, await ended.Exited.WaitAsync(Bound));
            using var killed = Shell("kill -TERM $$");
            Same(128 + 15, await killed.Exited.WaitAsync(Bound));
        },
        ["it can be killed, and once more when it is gone"] = async () =>
        {
            using var process = Shell("echo ready; exec sleep 1000");
            Same((int)'r', await Task.Run(() => process.StandardOutput.ReadByte()).WaitAsync(Bound));
            process.Kill();
            Same(128 + 9, await process.Exited.WaitAsync(Bound));
            process.Kill();
        },
        ["it has no pipe of another one"] = async () =>
        {
            var before = Open();
            using var first = Shell("cat");
            var pipes = Open().Except(before).ToArray();
            Same(3, pipes.Length);
            Same("", string.Join(' ', (await OutputAsync("readlink /proc/self/fd/*")).Split('\n').Intersect(pipes)));
        },
        ["it sees the end of its stdin while others live that were started later"] = async () =>
        {
            using var first = Shell("cat");
            using var second = Shell("cat");
            first.StandardInput.Dispose();
            Same(0, await first.Exited.WaitAsync(Bound));
            Same(false, second.Exited.IsCompleted);
        },
        ["it neither ignores nor blocks a signal that this program does"] = async () =>
        {
            // .NET ignores SIGPIPE. The C library keeps the signals above 31 to itself.
            var ignored = await OutputAsync("exec sed -n 's/^SigIgn:.//p' /proc/self/status");
            Same(0L, Convert.ToInt64(ignored.Trim(), 16) & 0x7fffffff);
            Same("0000000000000000\n", await OutputAsync("exec sed -n 's/^SigBlk:.//p' /proc/self/status"));
        },
        ["a program that is missing is an error that says so"] = () =>
        {
            try
            {
                new NativeProcessStarter().Start(["/no/such/program"], "/", Variables);
            }
            catch (IOException error)
            {
                Same("/no/such/program: No such file or directory", error.Message);
                return Task.CompletedTask;
            }
            throw new InvalidOperationException("it started");
        },
        ["a folder that is missing is an error"] = () =>
        {
            try
            {
                new NativeProcessStarter().Start(["/bin/true"], "/no/such/folder", Variables);
            }
            catch (IOException)
            {
                return Task.CompletedTask;
            }
            throw new InvalidOperationException("it started");
        },
        ["a hundred that have ended leave no descriptor open"] = async () =>
        {
            await OutputAsync("true");
            var before = Open();
            for (var count = 0; count < 100; count++)
            {
                await OutputAsync("true");
            }
            // What tests before this one left open may close meanwhile, so counts do not compare.
            Same("", string.Join(' ', Open().Except(before)));
        },
    };

    private static IStartedProcess Shell(string script) =>
        new NativeProcessStarter().Start(["/bin/sh", "-c", script], "/", Variables);

    private static async Task<string> OutputAsync(string script)
    {
        using var process = Shell(script);
        var said = await SaidAsync(process.StandardOutput).WaitAsync(Bound);
        await process.Exited.WaitAsync(Bound);
        return said;
    }

    private static async Task<string> SaidAsync(Stream from)
    {
        using var reader = new StreamReader(from, Encoding.UTF8);
        return await reader.ReadToEndAsync();
    }

    // What this program has open, by what the descriptors are of.
    private static string[] Open() => Directory.GetFileSystemEntries("/proc/self/fd")
        .Select(one => new FileInfo(one).LinkTarget ?? "")
        .Where(target => target.StartsWith("pipe:", StringComparison.Ordinal))
        .ToArray();

    private static void Same<T>(T wanted, T got)
    {
        if (!EqualityComparer<T>.Default.Equals(wanted, got))
        {
            throw new InvalidOperationException($"wanted {wanted}, got {got}");
        }
    }
}
