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
    /// <summary>A process started by <c>posix_spawn</c>, on Linux (glibc from 2.29 on) and macOS (from 10.15
    /// on).</summary>
    internal sealed class PosixProcess : IStartedProcess
    {
        private readonly object _door = new object();
        private bool _reaped;

        private PosixProcess(int id, FileDescriptor stdin, FileDescriptor stdout, FileDescriptor stderr)
        {
            Id = id;
            StandardInput = new DescriptorStream(stdin, reads: false);
            StandardOutput = new DescriptorStream(stdout, reads: true);
            StandardError = new DescriptorStream(stderr, reads: true);
            var exited = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            Exited = exited.Task;
            new Thread(() => Wait(exited)) { IsBackground = true, Name = "vramd: wait for " + id }.Start();
        }

        public int Id { get; }

        public Stream StandardInput { get; }

        public Stream StandardOutput { get; }

        public Stream StandardError { get; }

        /// <summary>Its exit code; 128 and the number of the signal that ended it.</summary>
        public Task<int> Exited { get; }

        public static PosixProcess Start(
            IReadOnlyList<string> command, string workingDirectory, IReadOnlyList<string> environment)
        {
            var (childIn, stdin) = Pipe();
            var (stdout, childOut) = Pipe();
            var (stderr, childErr) = Pipe();
            // glibc's structures have 80 and 336 bytes; macOS has pointers, with memory behind them.
            var actions = Zeroed(512);
            var attributes = Zeroed(512);
            var signals = Zeroed(128);
            using var arguments = new Strings(command);
            using var variables = new Strings(environment);
            try
            {
                Check(Libc.posix_spawn_file_actions_init(actions), "posix_spawn_file_actions_init");
                Check(Libc.posix_spawn_file_actions_adddup2(actions, childIn.Number, 0), "adddup2");
                Check(Libc.posix_spawn_file_actions_adddup2(actions, childOut.Number, 1), "adddup2");
                Check(Libc.posix_spawn_file_actions_adddup2(actions, childErr.Number, 2), "adddup2");
                if (workingDirectory.Length > 0)
                {
                    using var folder = new Strings(new[] { workingDirectory });
                    Check(Libc.posix_spawn_file_actions_addchdir_np(actions, folder[0]), "addchdir_np");
                }
                // This process may ignore or block signals for its own reasons; the new one begins without.
                Check(Libc.posix_spawnattr_init(attributes), "posix_spawnattr_init");
                Libc.sigemptyset(signals);
                Check(Libc.posix_spawnattr_setsigmask(attributes, signals), "setsigmask");
                Libc.sigfillset(signals);
                Check(Libc.posix_spawnattr_setsigdefault(attributes, signals), "setsigdefault");
                Check(Libc.posix_spawnattr_setflags(attributes, Libc.SetSigDef | Libc.SetSigMask), "setflags");
                Check(
                    Libc.posix_spawn(out var id, arguments[0], actions, attributes, arguments.List, variables.List),
                    command[0]);
                return new PosixProcess(id, stdin, stdout, stderr);
            }
            catch
            {
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
                Libc.posix_spawn_file_actions_destroy(actions);
                Libc.posix_spawnattr_destroy(attributes);
                Marshal.FreeHGlobal(actions);
                Marshal.FreeHGlobal(attributes);
                Marshal.FreeHGlobal(signals);
            }
        }

        public void Kill()
        {
            lock (_door)
            {
                // Once it is reaped, its number may be another process's.
                if (!_reaped)
                {
                    Libc.kill(Id, Libc.SigKill);
                }
            }
        }

        public void Dispose()
        {
            StandardInput.Dispose();
            StandardOutput.Dispose();
            StandardError.Dispose();
        }

        private void Wait(TaskCompletionSource<int> exited)
        {
            var information = Zeroed(128);
            try
            {
                int ended;
                do
                {
                    ended = Libc.waitid(Libc.ById, (uint)Id, information, Libc.Exited | Libc.NoWait);
                }
                while (ended != 0 && Marshal.GetLastWin32Error() == Libc.Interrupted);
                lock (_door)
                {
                    _reaped = true;
                    int reaped, status;
                    do
                    {
                        reaped = Libc.waitpid(Id, out status, 0);
                    }
                    while (reaped < 0 && Marshal.GetLastWin32Error() == Libc.Interrupted);
                    if (reaped < 0)
                    {
                        // Code of this process that waits for every child was quicker.
                        exited.SetException(new Win32Exception(Marshal.GetLastWin32Error(), "waitpid"));
                        return;
                    }
                    var signal = status & 0x7f;
                    exited.SetResult(signal == 0 ? (status >> 8) & 0xff : 128 + signal);
                }
            }
            finally
            {
                Marshal.FreeHGlobal(information);
            }
        }

        // The ends of a pipe, to read and to write, that no other child gets.
        private static (FileDescriptor Reads, FileDescriptor Writes) Pipe()
        {
            var ends = new int[2];
            var mac = RuntimeInformation.IsOSPlatform(OSPlatform.OSX);
            if ((mac ? Libc.pipe(ends) : Libc.pipe2(ends, Libc.CloseOnExec)) != 0)
            {
                throw new Win32Exception(Marshal.GetLastWin32Error(), "pipe");
            }
            var pipe = (Reads: new FileDescriptor(ends[0]), Writes: new FileDescriptor(ends[1]));
            if (mac && (Libc.ioctl(ends[0], Libc.SetCloseOnExec) != 0 || Libc.ioctl(ends[1], Libc.SetCloseOnExec) != 0))
            {
                var error = Marshal.GetLastWin32Error();
                pipe.Reads.Dispose();
                pipe.Writes.Dispose();
                throw new Win32Exception(error, "ioctl");
            }
            return pipe;
        }

        private static IntPtr Zeroed(int size)
        {
            var memory = Marshal.AllocHGlobal(size);
            Marshal.Copy(new byte[size], 0, memory, size);
            return memory;
        }

        // The functions of posix_spawn return their error.
        private static void Check(int error, string what)
        {
            if (error != 0)
            {
                throw new Win32Exception(error, $"{what}: {new Win32Exception(error).Message}");
            }
        }

        /// <summary>Strings in UTF-8, and a list of them that ends with null.</summary>
        private sealed class Strings : IDisposable
        {
            private readonly IntPtr[] _texts;

            public Strings(IReadOnlyList<string> texts)
            {
                _texts = new IntPtr[texts.Count];
                List = Zeroed((texts.Count + 1) * IntPtr.Size);
                for (var index = 0; index < texts.Count; index++)
                {
                    var bytes = Encoding.UTF8.GetBytes(texts[index] + "\0");
                    _texts[index] = Marshal.AllocHGlobal(bytes.Length);
                    Marshal.Copy(bytes, 0, _texts[index], bytes.Length);
                    Marshal.WriteIntPtr(List, index * IntPtr.Size, _texts[index]);
                }
            }

            public IntPtr List { get; }

            public IntPtr this[int index] => _texts[index];

            public void Dispose()
            {
                foreach (var text in _texts)
                {
                    Marshal.FreeHGlobal(text);
                }
                Marshal.FreeHGlobal(List);
            }
        }

        private sealed class FileDescriptor : SafeHandle
        {
            public FileDescriptor(int number)
                : base((IntPtr)(-1), ownsHandle: true) => SetHandle((IntPtr)number);

            public override bool IsInvalid => handle == (IntPtr)(-1);

            public int Number => (int)handle;

            protected override bool ReleaseHandle() => Libc.close((int)handle) == 0;
        }

        private sealed class DescriptorStream : PipeStream
        {
            private readonly FileDescriptor _descriptor;

            public DescriptorStream(FileDescriptor descriptor, bool reads)
                : base(descriptor, reads) => _descriptor = descriptor;

            protected override int ReadSome(IntPtr buffer, int count) =>
                Again(() => Libc.read(_descriptor, buffer, (UIntPtr)count));

            protected override int WriteSome(IntPtr buffer, int count) =>
                Again(() => Libc.write(_descriptor, buffer, (UIntPtr)count));

            private static int Again(Func<IntPtr> call)
            {
                while (true)
                {
                    var done = (long)call();
                    if (done >= 0)
                    {
                        return (int)done;
                    }
                    var error = Marshal.GetLastWin32Error();
                    if (error != Libc.Interrupted)
                    {
                        throw new IOException(new Win32Exception(error).Message);
                    }
                }
            }
        }

        private static class Libc
        {
            public const int SigKill = 9;
            public const int Interrupted = 4;
            public const int CloseOnExec = 0x80000;
            public const int ById = 1;
            public const int Exited = 4;
            public const short SetSigDef = 4;
            public const short SetSigMask = 8;

            // FIOCLEX of macOS. It takes no third argument: fcntl would, and C# cannot pass such a one on arm64.
            public static readonly UIntPtr SetCloseOnExec = (UIntPtr)0x20006601;

            public static int NoWait => RuntimeInformation.IsOSPlatform(OSPlatform.OSX) ? 0x20 : 0x1000000;

            [DllImport("libc", SetLastError = true)]
            public static extern int pipe([Out] int[] ends);

            [DllImport("libc", SetLastError = true)]
            public static extern int pipe2([Out] int[] ends, int flags);

            [DllImport("libc", SetLastError = true)]
            public static extern int ioctl(int descriptor, UIntPtr request);

            [DllImport("libc", SetLastError = true)]
            public static extern int close(int descriptor);

            [DllImport("libc", SetLastError = true)]
            public static extern IntPtr read(FileDescriptor descriptor, IntPtr buffer, UIntPtr count);

            [DllImport("libc", SetLastError = true)]
            public static extern IntPtr write(FileDescriptor descriptor, IntPtr buffer, UIntPtr count);

            [DllImport("libc", SetLastError = true)]
            public static extern int kill(int process, int signal);

            [DllImport("libc", SetLastError = true)]
            public static extern int waitid(int kind, uint id, IntPtr information, int options);

            [DllImport("libc", SetLastError = true)]
            public static extern int waitpid(int process, out int status, int options);

            [DllImport("libc")]
            public static extern int sigemptyset(IntPtr signals);

            [DllImport("libc")]
            public static extern int sigfillset(IntPtr signals);

            [DllImport("libc")]
            public static extern int posix_spawn_file_actions_init(IntPtr actions);

            [DllImport("libc")]
            public static extern int posix_spawn_file_actions_destroy(IntPtr actions);

            [DllImport("libc")]
            public static extern int posix_spawn_file_actions_adddup2(IntPtr actions, int from, int to);

            [DllImport("libc")]
            public static extern int posix_spawn_file_actions_addchdir_np(IntPtr actions, IntPtr folder);

            [DllImport("libc")]
            public static extern int posix_spawnattr_init(IntPtr attributes);

            [DllImport("libc")]
            public static extern int posix_spawnattr_destroy(IntPtr attributes);

            [DllImport("libc")]
            public static extern int posix_spawnattr_setflags(IntPtr attributes, short flags);

            [DllImport("libc")]
            public static extern int posix_spawnattr_setsigmask(IntPtr attributes, IntPtr signals);

            [DllImport("libc")]
            public static extern int posix_spawnattr_setsigdefault(IntPtr attributes, IntPtr signals);

            [DllImport("libc")]
            public static extern int posix_spawn(
                out int process, IntPtr file, IntPtr actions, IntPtr attributes, IntPtr arguments, IntPtr environment);
        }
    }
}
