using System;
using System.Diagnostics;
using System.Threading.Tasks;

namespace Vramd.Bench;

/// <summary>A client of this process, which does nothing else meanwhile.</summary>
internal abstract class InProcessArm : IArm
{
    public abstract string Name { get; }

    public async Task<Figures> RunAsync(int tokens, int calls)
    {
        GC.Collect();
        var cpu = Environment.CpuUsage.TotalTime;
        var allocated = GC.GetTotalAllocatedBytes(precise: true);
        var (came, messages) = await StreamAsync(tokens);
        var perToken = (Environment.CpuUsage.TotalTime - cpu).TotalMicroseconds / came;
        var bytes = (GC.GetTotalAllocatedBytes(precise: true) - allocated) / (double)came;
        var took = new double[calls];
        for (var call = 0; call < calls; call++)
        {
            var began = Stopwatch.GetTimestamp();
            await AskAsync();
            took[call] = Stopwatch.GetElapsedTime(began).TotalMicroseconds;
        }
        return new Figures(perToken, bytes, Report.Median(took), came / (double)messages);
    }

    public abstract ValueTask DisposeAsync();

    /// <summary>Reads an answer of so many tokens; returns the tokens and messages that came.</summary>
    protected abstract Task<(int Tokens, int Messages)> StreamAsync(int tokens);

    /// <summary>Makes a call that has one answer: the supervisor's status.</summary>
    protected abstract Task AskAsync();
}
