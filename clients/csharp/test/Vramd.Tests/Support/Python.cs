using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Threading.Tasks;
using Xunit;

namespace Vramd.Tests.Support;

/// <summary>The Python that the vramd under test is installed in.</summary>
public static class Python
{
    /// <summary>The interpreter.</summary>
    public static string Command => Path.Combine(Path.GetDirectoryName(RealSupervisor.Command!)!, "python");

    /// <summary>Runs a program of one text; returns what it printed. Skips the test where there is none.</summary>
    public static async Task<string> RunAsync(
        string program, IReadOnlyDictionary<string, string>? environment = null, params string[] arguments)
    {
        RealSupervisor.SkipWithout();
        var start = new ProcessStartInfo(Command)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in (string[])["-c", program, .. arguments])
        {
            start.ArgumentList.Add(argument);
        }
        if (environment is not null)
        {
            start.Environment.Clear();
            foreach (var (name, value) in environment)
            {
                start.Environment[name] = value;
            }
        }
        using var process = Process.Start(start)!;
        var (printed, complained) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await Bounds.Until(process.WaitForExitAsync(), "the Python program ended");
        Assert.True(process.ExitCode == 0, await complained);
        return await printed;
    }
}
