using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>Starts processes by <see cref="Process"/>.</summary>
internal sealed class ProcessStarter : IProcessStarter
{
    public IStartedProcess Start(
        IReadOnlyList<string> command, string workingDirectory, IReadOnlyDictionary<string, string> environment)
    {
        var how = new ProcessStartInfo(command[0], CommandLine.Of(command.Skip(1)))
        {
            WorkingDirectory = workingDirectory,
            UseShellExecute = false,
            CreateNoWindow = true,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        how.Environment.Clear();
        foreach (var variable in environment)
        {
            how.Environment.Add(variable.Key, variable.Value);
        }

        try
        {
            return new Started(how);
        }
        catch (Win32Exception error)
        {
            throw new IOException(error.Message, error);
        }
    }

    private sealed class Started : IStartedProcess
    {
        private readonly TaskCompletionSource<int> _exited = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Process _process;

        internal Started(ProcessStartInfo how)
        {
            _process = new Process { StartInfo = how, EnableRaisingEvents = true };
            _process.Exited += (_, _) => _exited.TrySetResult(_process.ExitCode);
            _process.Start();
            if (RuntimeInformation.IsOSPlatform(OSPlatform.Windows))
            {
                WindowsJob.Take(_process);
            }

            Id = _process.Id;
            StandardInput = _process.StandardInput.BaseStream;
            StandardOutput = _process.StandardOutput.BaseStream;
            StandardError = _process.StandardError.BaseStream;
        }

        public int Id { get; }

        public Stream StandardInput { get; }

        public Stream StandardOutput { get; }

        public Stream StandardError { get; }

        public Task<int> Exited => _exited.Task;

        public void Kill()
        {
            try
            {
#if NET
                _process.Kill(entireProcessTree: true);
#else
                _process.Kill(); // its workers end with it
#endif
            }
            catch (InvalidOperationException)
            {
                // It has ended.
            }
        }

        public void Dispose()
        {
            // Not by the process: it leaves streams that it has given away open.
            StandardInput.Dispose();
            StandardOutput.Dispose();
            StandardError.Dispose();
            _process.Dispose();
        }
    }
}
