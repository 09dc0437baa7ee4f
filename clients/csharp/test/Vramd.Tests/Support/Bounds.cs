using System;
using System.Diagnostics;
using System.Threading.Tasks;
using Xunit;

namespace Vramd.Tests.Support;

/// <summary>Waits for events: each with a bound, so that a test that hangs fails and says what it waited for.</summary>
public static class Bounds
{
    /// <summary>Nothing here takes this long, unless it hangs.</summary>
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(10);

    /// <summary>Waits for a task, <see cref="Bound"/> at most unless another bound is given.</summary>
    public static async Task<T> Until<T>(Task<T> happens, string what, TimeSpan? bound = null)
    {
        await Until((Task)happens, what, bound);
        return await happens;
    }

    /// <summary>Waits for a task, <see cref="Bound"/> at most unless another bound is given.</summary>
    public static async Task Until(Task happens, string what, TimeSpan? bound = null)
    {
        try
        {
            await happens.WaitAsync(bound ?? Bound);
        }
        catch (TimeoutException) when (!happens.IsCompleted)
        {
            Assert.Fail($"not within {(bound ?? Bound).TotalSeconds:g} s: {what}");
        }
    }

    /// <summary>Looks again and again until it holds; fails if it does not within the bound.</summary>
    public static Task Until(string what, Func<bool> holds, TimeSpan? bound = null) =>
        Until(what, () => Task.FromResult(holds()), bound);

    /// <summary>Looks again and again until it holds; fails if it does not within the bound.</summary>
    public static async Task Until(string what, Func<Task<bool>> holds, TimeSpan? bound = null)
    {
        var began = Stopwatch.StartNew();
        while (!await holds())
        {
            Assert.True(began.Elapsed < (bound ?? Bound), $"not within {(bound ?? Bound).TotalSeconds:g} s: {what}");
            await Task.Delay(Poll);
        }
    }
}
