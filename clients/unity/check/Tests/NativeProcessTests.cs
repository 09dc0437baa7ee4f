using System.Linq;
using System.Threading.Tasks;
using Xunit;

namespace Vramd.Unity.Check;

public sealed class NativeProcessTests
{
    public static TheoryData<string> Names => [.. Checks.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public Task A_process_started_by_the_systems_own_calls(string holds) => Checks.All[holds]();
}
