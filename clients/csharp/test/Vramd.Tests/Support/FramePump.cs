using System;
using System.Collections.Concurrent;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd.Tests.Support;

/// <summary>
/// A thread with a context that is looked at once a frame, as that of a game's engine: what was posted before a frame
/// runs in it, what is posted meanwhile in the next.
/// </summary>
public sealed class FramePump : SynchronizationContext
{
    private readonly ConcurrentQueue<(SendOrPostCallback Call, object? State)> _posted = new();
    private readonly TimeSpan _frame;

    private FramePump(TimeSpan frame) => _frame = frame;

    /// <summary>Runs a function on such a thread until its task has ended.</summary>
    public static Task<T> RunAsync<T>(TimeSpan frame, Func<Task<T>> program)
    {
        var ended = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() => new FramePump(frame).Run(program, ended)) { IsBackground = true }.Start();
        return ended.Task;
    }

    /// <inheritdoc/>
    public override void Post(SendOrPostCallback d, object? state) => _posted.Enqueue((d, state));

    private void Run<T>(Func<Task<T>> program, TaskCompletionSource<T> ended)
    {
        SetSynchronizationContext(this);
        var running = program();
        while (!running.IsCompleted)
        {
            Thread.Sleep(_frame); // the frame itself
            for (var left = _posted.Count; left > 0 && _posted.TryDequeue(out var one); left--)
            {
                one.Call(one.State);
            }
        }
        ended.SetFromTask(running);
    }
}
