using System.Collections.Generic;
using System.IO;

namespace Vramd;

/// <summary>Starts processes, for hosts where <see cref="System.Diagnostics.Process"/> cannot.</summary>
public interface IProcessStarter
{
    /// <summary>
    /// Starts a process with three pipes and no window. No other child of this program may inherit its ends of the
    /// pipes: the end of stdin ends the supervisor.
    /// </summary>
    /// <param name="command">The program, an absolute path, and its arguments.</param>
    /// <param name="workingDirectory">The folder that it starts in.</param>
    /// <param name="environment">All its variables.</param>
    /// <exception cref="IOException">It cannot be started; the message says why.</exception>
    IStartedProcess Start(
        IReadOnlyList<string> command, string workingDirectory, IReadOnlyDictionary<string, string> environment);
}
