// A program that has a supervisor, and ends in the ways that programs end:
//
//     Vramd.TestHost start|attach stdin|owner RUNTIME_DIR CONFIG
//
// It says `started PID owned|attached` or `failed WHY`, and then does what each line of its stdin asks for: `failfast`,
// `drop` (the supervisor's object, says `dropped`), `stop`. It says `interrupted` when it gets a SIGINT, which it
// survives. The end of its stdin is its end. The same source is the host of the Unity package's checks: compiled ahead
// of time with that package's way to start a process (NATIVE_PROCESS), and for Mono.
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading.Tasks;
using Vramd;

internal static class Program
{
    private static VramdSupervisor? s_supervisor;

    internal static async Task<int> Main(string[] arguments)
    {
        _ = LeadSession();
        Console.CancelKeyPress += (_, pressed) =>
        {
            pressed.Cancel = true;
            Console.WriteLine("interrupted");
        };
        Console.WriteLine(await BeginAsync(arguments).ConfigureAwait(false));
        // Away from the stack of what has made the supervisor, which would hold it.
        await Task.Yield();
        while (Console.ReadLine() is { } order)
        {
            switch (order)
            {
                case "failfast":
                    Environment.FailFast("as asked");
                    break;
                case "drop":
                    Console.WriteLine(Drop() ? "dropped" : "still there");
                    break;
                case "stop":
                    await EndAsync().ConfigureAwait(false);
                    Console.WriteLine("stopped");
                    break;
            }
        }

        return 0;
    }

    private static async Task<string> BeginAsync(string[] arguments)
    {
        var options = new SupervisorOptions
        {
            Lifeline = arguments[1] == "owner" ? Lifeline.Owner : Lifeline.Stdin,
            RuntimeDirectory = arguments[2],
            ConfigFile = arguments[3],
#if NATIVE_PROCESS
            Starter = new Vramd.Unity.NativeProcessStarter(),
#endif
        };
        try
        {
            s_supervisor = await (arguments[0] == "attach"
                ? VramdSupervisor.AttachOrStartAsync(options)
                : VramdSupervisor.StartAsync(options)).ConfigureAwait(false);
        }
        catch (StartFailedException error)
        {
            return $"failed {error.Message.Replace('\n', ' ')}";
        }

        return $"started {s_supervisor.ProcessId} {(s_supervisor.Owned ? "owned" : "attached")}";
    }

    private static async Task EndAsync() => await s_supervisor!.DisposeAsync().ConfigureAwait(false);

    /// <summary>Drops the supervisor's object; false if it is not collected.</summary>
    private static bool Drop()
    {
        var dropped = Forget();
        for (var round = 0; round < 100; round++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        return !dropped.IsAlive;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference Forget()
    {
        var supervisor = new WeakReference(s_supervisor);
        s_supervisor = null;
        return supervisor;
    }

    /// <summary>Leads a session and a process group, as a program does that was started in a terminal.</summary>
    [DllImport("libc", EntryPoint = "setsid")]
    private static extern int LeadSession();
}
