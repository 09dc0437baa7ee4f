using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading.Tasks;

namespace Vramd.Tests.Support;

/// <summary>Processes of this machine, by what Linux says of them in /proc.</summary>
internal static class Processes
{
    private const int StopSignal = 19;

    /// <summary>The ids of a process and all below it.</summary>
    public static IReadOnlyList<int> Family(int process)
    {
        var parents = Directory.GetDirectories("/proc")
            .Select(folder => int.TryParse(Path.GetFileName(folder), out var id) ? id : 0)
            .Where(id => id > 0)
            .Select(id => (Id: id, Status: Status(id)))
            .Where(one => one.Status is not null)
            .ToLookup(one => int.Parse(one.Status![1], CultureInfo.InvariantCulture), one => one.Id);
        var family = new List<int> { process };
        for (var at = 0; at < family.Count; at++)
        {
            family.AddRange(parents[family[at]]);
        }
        return family;
    }

    /// <summary>Whether it runs; a zombie does not.</summary>
    public static bool Lives(int process) => Status(process) is { } status && status[0] is not ("Z" or "X");

    /// <summary>Stops a process where it is.</summary>
    public static void Pause(int process) => _ = SendSignal(process, StopSignal);

    /// <summary>Waits until none of them runs.</summary>
    public static Task GoneAsync(IReadOnlyList<int> processes, TimeSpan? bound = null) =>
        Bounds.Until($"the end of {string.Join(", ", processes)}", () => !processes.Any(Lives), bound);

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int SendSignal(int process, int signal);

    // What follows the name, which is in brackets: state, parent, …
    private static string[]? Status(int process)
    {
        try
        {
            var text = File.ReadAllText($"/proc/{process}/stat");
            return text[(text.LastIndexOf(')') + 2)..].Split(' ');
        }
        catch (IOException)
        {
            return null;
        }
    }
}
