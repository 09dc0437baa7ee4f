#nullable enable
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd.Unity
{
    /// <summary>A process started by <c>CreateProcessW</c>, in a job that ends with this program.</summary>
    /// <remarks>It inherits its three pipes and no other handle.</remarks>
    internal sealed class WindowsProcess : IStartedProcess
    {
        private readonly KernelHandle _process;
        private readonly KernelHandle _job;

        private WindowsProcess(
            int id, KernelHandle process, KernelHandle job, KernelHandle stdin, KernelHandle stdout,
            KernelHandle stderr)
        {
            Id = id;
            _process = process;
            _job = job;
            StandardInput = new HandleStream(stdin, reads: false);
            StandardOutput = new HandleStream(stdout, reads: true);
            StandardError = new HandleStream(stderr, reads: true);
            var exited = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            Exited = exited.Task;
            new Thread(() => Wait(exited)) { IsBackground = true, Name = "vramd: wait for " + id }.Start();
        }

        public int Id { get; }

        public Stream StandardInput { get; }

        public Stream StandardOutput { get; }

        public Stream StandardError { get; }

        public Task<int> Exited { get; }

        public static WindowsProcess Start(
            IReadOnlyList<string> command, string workingDirectory, IReadOnlyList<string> environment)
        {
            var (childIn, stdin) = Pipe(childReads: true);
            var (childOut, stdout) = Pipe(childReads: false);
            var (childErr, stderr) = Pipe(childReads: false);
            var inherited = new[] { childIn.Value, childOut.Value, childErr.Value };
            var pinned = GCHandle.Alloc(inherited, GCHandleType.Pinned);
            var attributes = IntPtr.Zero;
            var variables = Marshal.StringToHGlobalUni(string.Join("\0", environment) + "\0\0");
            KernelHandle? job = null;
            try
            {
                attributes = HandleList(pinned.AddrOfPinnedObject(), inherited.Length * IntPtr.Size);
                job = Job();
                var startup = new StartupInformation
                {
                    Size = Marshal.SizeOf<StartupInformation>(),
                    Flags = Kernel.UseStdHandles,
                    StdInput = childIn.Value,
                    StdOutput = childOut.Value,
                    StdError = childErr.Value,
                    Attributes = attributes,
                };
                // It begins suspended, so that nothing that it starts is outside the job.
                Check(
                    Kernel.CreateProcessW(
                        null, new StringBuilder(Line(command)), IntPtr.Zero, IntPtr.Zero, inheritHandles: true,
                        Kernel.CreateSuspended | Kernel.UnicodeEnvironment | Kernel.ExtendedStartup | Kernel.NoWindow,
                        variables, workingDirectory.Length > 0 ? workingDirectory : null, ref startup, out var made),
                    command[0]);
                var process = new KernelHandle(made.Process);
                using var thread = new KernelHandle(made.Thread);
                if (!Kernel.AssignProcessToJobObject(job.Value, process.Value) || Kernel.ResumeThread(thread.Value) < 0)
                {
                    var error = Marshal.GetLastWin32Error();
                    Kernel.TerminateProcess(process.Value, 1);
                    process.Dispose();
                    throw new Win32Exception(error, $"{command[0]}: {new Win32Exception(error).Message}");
                }
                return new WindowsProcess(made.ProcessId, process, job, stdin, stdout, stderr);
            }
            catch
            {
                job?.Dispose();
                stdin.Dispose();
                stdout.Dispose();
                stderr.Dispose();
                throw;
            }
            finally
            {
                childIn.Dispose();
                childOut.Dispose();
                childErr.Dispose();
                if (attributes != IntPtr.Zero)
                {
                    Kernel.DeleteProcThreadAttributeList(attributes);
                    Marshal.FreeHGlobal(attributes);
                }
                pinned.Free();
                Marshal.FreeHGlobal(variables);
            }
        }

        public void Kill()
        {
            // Fails only if it has ended already.
            Kernel.TerminateProcess(_process.Value, 1);
        }

        public void Dispose()
        {
            StandardInput.Dispose();
            StandardOutput.Dispose();
            StandardError.Dispose();
        }

        private void Wait(TaskCompletionSource<int> exited)
        {
            Kernel.WaitForSingleObject(_process.Value, Kernel.Infinite);
            if (Kernel.GetExitCodeProcess(_process.Value, out var code))
            {
                exited.SetResult(unchecked((int)code));
            }
            else
            {
                exited.SetException(new Win32Exception(Marshal.GetLastWin32Error(), "GetExitCodeProcess"));
            }
            // Ends what the process has left; the handle had to live until here.
            _job.Dispose();
        }

        // One string, that the program's start takes apart again by the rules of the C runtime.
        internal static string Line(IReadOnlyList<string> command)
        {
            var line = new StringBuilder();
            foreach (var argument in command)
            {
                if (line.Length > 0)
                {
                    line.Append(' ');
                }
                if (argument.Length > 0 && argument.IndexOfAny(new[] { ' ', '\t', '\n', '\v', '"' }) < 0)
                {
                    line.Append(argument);
                    continue;
                }
                line.Append('"');
                var backslashes = 0;
                foreach (var letter in argument)
                {
                    if (letter == '\\')
                    {
                        backslashes++;
                        continue;
                    }
                    // Before a quote each backslash counts for half, and one more is for the quote.
                    line.Append('\\', letter == '"' ? (2 * backslashes) + 1 : backslashes).Append(letter);
                    backslashes = 0;
                }
                line.Append('\\', 2 * backslashes).Append('"');
            }
            return line.ToString();
        }

        private static (KernelHandle Child, KernelHandle Own) Pipe(bool childReads)
        {
            Check(Kernel.CreatePipe(out var reads, out var writes, IntPtr.Zero, 0), "CreatePipe");
            var ends = (Reads: new KernelHandle(reads), Writes: new KernelHandle(writes));
            var pipe = childReads ? (Child: ends.Reads, Own: ends.Writes) : (Child: ends.Writes, Own: ends.Reads);
            Check(
                Kernel.SetHandleInformation(pipe.Child.Value, Kernel.Inherit, Kernel.Inherit), "SetHandleInformation");
            return pipe;
        }

        private static IntPtr HandleList(IntPtr handles, int size)
        {
            var needed = IntPtr.Zero;
            // Fails, and says how much memory it needs.
            Kernel.InitializeProcThreadAttributeList(IntPtr.Zero, 1, 0, ref needed);
            var list = Marshal.AllocHGlobal(needed);
            if (!Kernel.InitializeProcThreadAttributeList(list, 1, 0, ref needed))
            {
                var error = Marshal.GetLastWin32Error();
                Marshal.FreeHGlobal(list);
                throw new Win32Exception(error, "InitializeProcThreadAttributeList");
            }
            if (!Kernel.UpdateProcThreadAttribute(
                list, 0, (IntPtr)Kernel.HandleList, handles, (IntPtr)size, IntPtr.Zero, IntPtr.Zero))
            {
                var error = Marshal.GetLastWin32Error();
                Kernel.DeleteProcThreadAttributeList(list);
                Marshal.FreeHGlobal(list);
                throw new Win32Exception(error, "UpdateProcThreadAttribute");
            }
            return list;
        }

        private static KernelHandle Job()
        {
            var job = new KernelHandle(Kernel.CreateJobObjectW(IntPtr.Zero, null));
            Check(!job.IsInvalid, "CreateJobObject");
            var limits = new JobLimits { Flags = Kernel.KillOnJobClose };
            if (!Kernel.SetInformationJobObject(
                job.Value, Kernel.ExtendedLimits, ref limits, Marshal.SizeOf<JobLimits>()))
            {
                var error = Marshal.GetLastWin32Error();
                job.Dispose();
                throw new Win32Exception(error, "SetInformationJobObject");
            }
            return job;
        }

        private static void Check(bool done, string what)
        {
            if (!done)
            {
                var error = Marshal.GetLastWin32Error();
                throw new Win32Exception(error, $"{what}: {new Win32Exception(error).Message}");
            }
        }

        private sealed class KernelHandle : SafeHandle
        {
            public KernelHandle(IntPtr value)
                : base(IntPtr.Zero, ownsHandle: true) => SetHandle(value);

            public override bool IsInvalid => handle == IntPtr.Zero || handle == (IntPtr)(-1);

            public IntPtr Value => handle;

            protected override bool ReleaseHandle() => Kernel.CloseHandle(handle);
        }

        private sealed class HandleStream : PipeStream
        {
            private readonly KernelHandle _handle;

            public HandleStream(KernelHandle handle, bool reads)
                : base(handle, reads) => _handle = handle;

            protected override int ReadSome(IntPtr buffer, int count)
            {
                if (Kernel.ReadFile(_handle, buffer, count, out var done, IntPtr.Zero))
                {
                    return done;
                }
                var error = Marshal.GetLastWin32Error();
                return error == Kernel.BrokenPipe ? 0 : throw new IOException(new Win32Exception(error).Message);
            }

            protected override int WriteSome(IntPtr buffer, int count)
            {
                if (Kernel.WriteFile(_handle, buffer, count, out var done, IntPtr.Zero))
                {
                    return done;
                }
                throw new IOException(new Win32Exception(Marshal.GetLastWin32Error()).Message);
            }
        }

        // STARTUPINFOEXW.
        [StructLayout(LayoutKind.Sequential)]
        private struct StartupInformation
        {
            public int Size;
            public IntPtr Reserved;
            public IntPtr Desktop;
            public IntPtr Title;
            public int X;
            public int Y;
            public int Width;
            public int Height;
            public int Columns;
            public int Rows;
            public int Fill;
            public int Flags;
            public short ShowWindow;
            public short Reserved2Size;
            public IntPtr Reserved2;
            public IntPtr StdInput;
            public IntPtr StdOutput;
            public IntPtr StdError;
            public IntPtr Attributes;
        }

        [StructLayout(LayoutKind.Sequential)]
        private struct ProcessInformation
        {
            public IntPtr Process;
            public IntPtr Thread;
            public int ProcessId;
            public int ThreadId;
        }

        // JOBOBJECT_EXTENDED_LIMIT_INFORMATION.
        [StructLayout(LayoutKind.Sequential)]
        private struct JobLimits
        {
            public long ProcessTime;
            public long JobTime;
            public int Flags;
            public UIntPtr LeastWorkingSet;
            public UIntPtr MostWorkingSet;
            public int ActiveProcesses;
            public UIntPtr Affinity;
            public int Priority;
            public int Scheduling;
            public ulong ReadOperations;
            public ulong WriteOperations;
            public ulong OtherOperations;
            public ulong ReadBytes;
            public ulong WrittenBytes;
            public ulong OtherBytes;
            public UIntPtr ProcessMemory;
            public UIntPtr JobMemory;
            public UIntPtr PeakProcessMemory;
            public UIntPtr PeakJobMemory;
        }

        private static class Kernel
        {
            public const int UseStdHandles = 0x100;
            public const int CreateSuspended = 4;
            public const int UnicodeEnvironment = 0x400;
            public const int ExtendedStartup = 0x80000;
            public const int NoWindow = 0x8000000;
            public const int Inherit = 1;
            public const int HandleList = 0x20002;
            public const int ExtendedLimits = 9;
            public const int KillOnJobClose = 0x2000;
            public const int BrokenPipe = 109;
            public const uint Infinite = 0xffffffff;

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool CreatePipe(out IntPtr reads, out IntPtr writes, IntPtr security, int size);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool SetHandleInformation(IntPtr handle, int mask, int flags);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool InitializeProcThreadAttributeList(
                IntPtr list, int count, int flags, ref IntPtr size);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool UpdateProcThreadAttribute(
                IntPtr list, int flags, IntPtr attribute, IntPtr value, IntPtr size, IntPtr before, IntPtr returned);

            [DllImport("kernel32")]
            public static extern void DeleteProcThreadAttributeList(IntPtr list);

            [DllImport("kernel32", SetLastError = true, CharSet = CharSet.Unicode, ExactSpelling = true)]
            public static extern bool CreateProcessW(
                string? program, StringBuilder line, IntPtr processSecurity, IntPtr threadSecurity, bool inheritHandles,
                int flags, IntPtr environment, string? folder, ref StartupInformation startup,
                out ProcessInformation made);

            [DllImport("kernel32", SetLastError = true, CharSet = CharSet.Unicode, ExactSpelling = true)]
            public static extern IntPtr CreateJobObjectW(IntPtr security, string? name);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool SetInformationJobObject(IntPtr job, int kind, ref JobLimits limits, int size);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool AssignProcessToJobObject(IntPtr job, IntPtr process);

            [DllImport("kernel32", SetLastError = true)]
            public static extern int ResumeThread(IntPtr thread);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool TerminateProcess(IntPtr process, uint code);

            [DllImport("kernel32", SetLastError = true)]
            public static extern uint WaitForSingleObject(IntPtr handle, uint milliseconds);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool GetExitCodeProcess(IntPtr process, out uint code);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool ReadFile(
                KernelHandle handle, IntPtr buffer, int count, out int done, IntPtr overlapped);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool WriteFile(
                KernelHandle handle, IntPtr buffer, int count, out int done, IntPtr overlapped);

            [DllImport("kernel32", SetLastError = true)]
            public static extern bool CloseHandle(IntPtr handle);
        }
    }
}
