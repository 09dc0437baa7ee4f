using System;
using Vramd.Unity.Check;

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
