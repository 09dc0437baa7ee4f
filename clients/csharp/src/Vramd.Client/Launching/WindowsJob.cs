using System;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vramd;

/// <summary>
/// The job of this program's supervisors: Windows ends what is in it when this program ends. It is a second means beside
/// the lifeline, for a supervisor that hangs. It was never run: there was no Windows to run it on.
/// </summary>
internal static class WindowsJob
{
    private const int ExtendedLimits = 9;
    private const uint KillOnJobClose = 0x2000;

    // Closed by the system when this process ends, and by nothing else: code that is loaded again leaves it open.
    private static readonly Lazy<IntPtr> Own = new(Make);

    /// <summary>
    /// Puts a process into the job. Without effect where the system does not let it: the lifeline does without.
    /// </summary>
    internal static void Take(Process process)
    {
        if (Own.Value != IntPtr.Zero)
        {
            _ = AssignProcessToJobObject(Own.Value, process.Handle);
        }
    }

    private static IntPtr Make()
    {
        var job = CreateJobObjectW(IntPtr.Zero, IntPtr.Zero);
        var limits = default(Limits);
        limits.Flags = KillOnJobClose;
        var done = SetInformationJobObject(job, ExtendedLimits, ref limits, (uint)Marshal.SizeOf<Limits>());
        return done == 0 ? IntPtr.Zero : job;
    }

    [DllImport("kernel32", SetLastError = true)]
    private static extern IntPtr CreateJobObjectW(IntPtr attributes, IntPtr name);

    [DllImport("kernel32", SetLastError = true)]
    private static extern int SetInformationJobObject(IntPtr job, int kind, ref Limits limits, uint size);

    [DllImport("kernel32", SetLastError = true)]
    private static extern int AssignProcessToJobObject(IntPtr job, IntPtr process);

    /// <summary>JOBOBJECT_EXTENDED_LIMIT_INFORMATION.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Limits
    {
        public long PerProcessUserTimeLimit;
        public long PerJobUserTimeLimit;
        public uint Flags;
        public UIntPtr MinimumWorkingSetSize;
        public UIntPtr MaximumWorkingSetSize;
        public uint ActiveProcessLimit;
        public UIntPtr Affinity;
        public uint PriorityClass;
        public uint SchedulingClass;
        public ulong ReadOperationCount;
        public ulong WriteOperationCount;
        public ulong OtherOperationCount;
        public ulong ReadTransferCount;
        public ulong WriteTransferCount;
        public ulong OtherTransferCount;
        public UIntPtr ProcessMemoryLimit;
        public UIntPtr JobMemoryLimit;
        public UIntPtr PeakProcessMemoryUsed;
        public UIntPtr PeakJobMemoryUsed;
    }
}
