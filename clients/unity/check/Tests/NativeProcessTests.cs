using System.Linq;
using System.Threading.Tasks;
using Xunit;

namespace Vramd.Unity.Check;

/// <summary>Tests that count what this program has open, so that no other test may start a process meanwhile.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

[Collection(nameof(Alone))]
public sealed class NativeProcessTests
{
    public static TheoryData<string> Names => [.. Checks.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public Task A_process_started_by_the_systems_own_calls(string holds) => Checks.All[holds]();
}
