#nullable enable
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.IO;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd.Unity
{
    /// <summary>Starts processes by the system's own calls. IL2CPP has no <c>System.Diagnostics.Process</c>.</summary>
    public sealed class NativeProcessStarter : IProcessStarter
    {
        /// <inheritdoc/>
        public IStartedProcess Start(
            IReadOnlyList<string> command, string workingDirectory, IReadOnlyDictionary<string, string> environment)
        {
            var variables = new List<string>(environment.Count);
            foreach (var variable in environment)
            {
                variables.Add(variable.Key + "=" + variable.Value);
            }
            try
            {
                if (!RuntimeInformation.IsOSPlatform(OSPlatform.Windows))
                {
                    return PosixProcess.Start(command, workingDirectory, variables);
                }
                variables.Sort(StringComparer.OrdinalIgnoreCase);
                return WindowsProcess.Start(command, workingDirectory, variables);
            }
            catch (Win32Exception error)
            {
                throw new IOException(error.Message, error);
            }
        }
    }

    /// <summary>One end of a pipe. Its reads and writes block, the asynchronous ones a thread made for each.</summary>
    /// <remarks>IL2CPP's FileStream cannot be made of a descriptor.</remarks>
    internal abstract class PipeStream : Stream
    {
        private readonly SafeHandle _handle;

        protected PipeStream(SafeHandle handle, bool reads)
        {
            _handle = handle;
            CanRead = reads;
        }

        public override bool CanRead { get; }

        public override bool CanWrite => !CanRead;

        public override bool CanSeek => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        /// <summary>Reads at least one byte; 0 at the end.</summary>
        protected abstract int ReadSome(IntPtr buffer, int count);

        /// <summary>Writes at least one byte.</summary>
        protected abstract int WriteSome(IntPtr buffer, int count);

        public override int Read(byte[] buffer, int offset, int count)
        {
            if (count == 0)
            {
                return 0;
            }
            var pinned = GCHandle.Alloc(buffer, GCHandleType.Pinned);
            try
            {
                return ReadSome(Marshal.UnsafeAddrOfPinnedArrayElement(buffer, offset), count);
            }
            finally
            {
                pinned.Free();
            }
        }

        public override void Write(byte[] buffer, int offset, int count)
        {
            var pinned = GCHandle.Alloc(buffer, GCHandleType.Pinned);
            try
            {
                for (var done = 0; done < count;)
                {
                    done += WriteSome(Marshal.UnsafeAddrOfPinnedArrayElement(buffer, offset + done), count - done);
                }
            }
            finally
            {
                pinned.Free();
            }
        }

        // The pool's threads are for short work; a read of a pipe may wait for as long as the process lives.
        public override Task<int> ReadAsync(
            byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            Task.Factory.StartNew(
                () => Read(buffer, offset, count), cancellationToken, TaskCreationOptions.LongRunning,
                TaskScheduler.Default);

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            Task.Factory.StartNew(
                () => Write(buffer, offset, count), cancellationToken, TaskCreationOptions.LongRunning,
                TaskScheduler.Default);

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _handle.Dispose();
            }
            base.Dispose(disposing);
        }
    }
}
