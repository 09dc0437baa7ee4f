using System;
using System.Threading.Tasks;

namespace Vramd.Unity.Check;

/// <summary>Runs the checks and returns how many fail; with arguments it is the launcher's test host.</summary>
internal static class Entry
{
    private static async Task<int> Main(string[] arguments)
    {
        if (arguments.Length > 0)
        {
            return await Program.Main(arguments);
        }
        var failed = 0;
        foreach (var (name, check) in Checks.All)
        {
            try
            {
                await check();
                Console.WriteLine($"holds: {name}");
            }
            catch (Exception error)
            {
                failed++;
                Console.WriteLine($"FAILS: {name}: {error.Message}");
            }
        }
        return failed;
    }
}
