using System;
using System.Threading.Tasks;
using Xunit;

[assembly: AssemblyFixture(typeof(Vramd.Tests.Support.SimulatedSupervisor))]
[assembly: AssemblyFixture(typeof(Vramd.Tests.Support.DemoSupervisor))]

namespace Vramd.Tests.Support;

/// <summary>
/// One supervisor for all tests that take it by their constructor; it starts when the first of them asks. A test that
/// ends processes or counts what runs uses models that no other test does, or a <see cref="RealSupervisor"/> for itself.
/// </summary>
public abstract class SharedSupervisor : IAsyncDisposable
{
    private readonly Lazy<Task<RealSupervisor>> _started;

    private protected SharedSupervisor(Func<string> configuration) =>
        _started = new(() => RealSupervisor.StartAsync(configuration()));

    /// <summary>The supervisor, listening; skips the test where there is none to start.</summary>
    public Task<RealSupervisor> StartedAsync()
    {
        RealSupervisor.SkipWithout();
        return _started.Value;
    }

    /// <summary>A client of it, which the caller disposes of.</summary>
    public async Task<VramdClient> ClientAsync(VramdClientOptions? options = null) =>
        VramdClient.Connect((await StartedAsync()).Folder, options);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        if (_started.IsValueCreated)
        {
            await (await _started.Value).DisposeAsync();
        }
    }
}

/// <summary>
/// Simulated models: `slow` and `chatted` give 20 tokens per second, the others 500; together they fit. `left`, `lazy`
/// and `chatted` are for one test each.
/// </summary>
public sealed class SimulatedSupervisor() : SharedSupervisor(static () =>
    Configuration.Card
    + Configuration.Simulated("talker")
    + Configuration.Simulated("other")
    + Configuration.Simulated("left")
    + Configuration.Simulated("lazy")
    + Configuration.Simulated("chatted", settings: ("tokens_per_s", 20))
    + Configuration.Simulated("slow", settings: ("tokens_per_s", 20)));

/// <summary>The model that ships with vramd, as `companion`: real text and vectors of llama.cpp.</summary>
public sealed class DemoSupervisor() : SharedSupervisor(static () =>
    DemoModels.SameThreads + Configuration.File("companion", DemoModels.Companion, ("context", 2048)));
