using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>What a program hears of workers that do wrong: an answer or a typed error, never nothing.</summary>
public sealed class FaultTests
{
    // What a call comes to on a simulated model of these manners, whose requests are not made again.
    private static readonly Dictionary<string, Type?> Manners = new()
    {
        ["exit-in-load"] = typeof(WorkerCrashedException),
        ["hang-in-load"] = typeof(LoadTimedOutException),
        ["oom"] = typeof(WorkerCrashedException),
        ["exit-in-prompt"] = typeof(WorkerCrashedException),
        ["exit-on-poison"] = null,
        ["exit-in-decode"] = typeof(WorkerCrashedException),
        ["hang-in-decode"] = typeof(WorkerCrashedException),
        ["block-after-first-token"] = typeof(WorkerCrashedException),
        ["ignore-sigterm"] = null,
        ["flood-stderr"] = null,
        ["garbage-on-stdout"] = null,
        ["grandchild"] = null,
        ["leak"] = null,
        ["bug"] = typeof(InternalException),
        ["spin-in-decode"] = typeof(WorkerCrashedException),
        ["close-sockets"] = typeof(WorkerCrashedException),
    };

    [Fact]
    public async Task All_manners_come_to_an_answer_or_a_typed_error()
    {
        var known = await Python.RunAsync("from vramd_worker.simulated.faults import Fault; print(*(f.value for f in Fault))");
        Assert.Equal(known.Split().Where(one => one != "").Order(), Manners.Keys.Order());
        await using var supervisor = await RealSupervisor.StartAsync(
            "[server]\nstall_s = 15\nload_stall_s = 15\n[scheduling]\nstop_s = 0.3\n"
            + string.Concat(Manners.Keys.Select(manner => Configuration.Simulated(
                manner,
                card: "",
                // Of three tokens before a fault the first has arrived when it comes, on a busy machine too.
                settings: [("manners", (string[])[manner]), ("expendable", true), ("tokens_per_s", 2)]))));
        await using var client = VramdClient.Connect(supervisor.Folder);
        var settings = new AnswerSettings { MaxTokens = 10, Timeout = Bounds.Bound * 2, OnCrash = OnCrash.Fail };
        using var few = new SemaphoreSlim(5); // more processes at once could look as if they hung
        var came = await Bounds.Until(
            Task.WhenAll(Manners.Keys.Select(async manner =>
            {
                await few.WaitAsync();
                var error = await Record.ExceptionAsync(() => client.AnswerAsync(manner, "x", settings));
                few.Release();
                return (manner, error);
            })),
            "all calls ended",
            Bounds.Bound * 5);
        foreach (var (manner, error) in came)
        {
            Assert.True(error?.GetType() == Manners[manner], $"{manner}: {error}");
            if (manner is "exit-in-decode" or "hang-in-decode" or "spin-in-decode" or "close-sockets")
            {
                Assert.True(((VramdException)error!).Received != "", $"{manner}: nothing had arrived: {error}");
            }
        }
    }

    [Fact]
    public async Task A_killed_worker_ends_its_own_stream_with_what_came_and_no_other()
    {
        await using var supervisor = await RealSupervisor.StartAsync(
            Configuration.Simulated("dying", card: "", settings: ("tokens_per_s", 20))
            + Configuration.Simulated("living", card: ""));
        await using var client = VramdClient.Connect(supervisor.Folder);
        var living = client.AnswerAsync("living", "Count.", new() { MaxTokens = 2000 });
        var received = "";
        var settings = new AnswerSettings { MaxTokens = 4000, OnCrash = OnCrash.Fail }; // it does not end before the kill
        var error = await Assert.ThrowsAsync<WorkerCrashedException>(async () =>
        {
            await foreach (var piece in client.ChatAsync("dying", "Count.", settings))
            {
                if (received.Length == 0 && piece.Text.Length > 0)
                {
                    using var worker = Process.GetProcessById((await client.LoadAsync("dying")).ProcessId!.Value);
                    worker.Kill();
                }
                received += piece.Text;
            }
        });
        Assert.Equal(Reasons.WorkerCrashedMidStream, error.Reason);
        Assert.Equal((received, "killed by SIGKILL", "dying"), (error.Received, error.Exit, error.Model));
        Assert.True(error.TokensSent > 0);
        Assert.Equal(2000, (await Bounds.Until(living, "the other answer")).TokenIds.Count);
    }
}
