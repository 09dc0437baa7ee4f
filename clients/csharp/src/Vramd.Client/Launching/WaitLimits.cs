using System;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>Waits that end before what they wait for.</summary>
internal static class WaitLimits
{
    /// <summary>Waits for a task, or until the wait is cancelled; the task goes on then.</summary>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    internal static async Task<T> WithCancellation<T>(this Task<T> task, CancellationToken token)
    {
        var cancelled = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        using (token.Register(() => cancelled.TrySetResult(true)))
        {
            if (await Task.WhenAny(task, cancelled.Task).ConfigureAwait(false) != task)
            {
                token.ThrowIfCancellationRequested();
            }
        }

        return await task.ConfigureAwait(false);
    }
}
