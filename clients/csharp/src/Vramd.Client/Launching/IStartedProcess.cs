using System;
using System.IO;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>
/// A process of an <see cref="IProcessStarter"/>, which is disposed of once it has ended and its output was read.
/// </summary>
public interface IStartedProcess : IDisposable
{
    /// <summary>Its id.</summary>
    int Id { get; }

    /// <summary>The pipe that it reads; closed by <see cref="Stream.Dispose()"/>.</summary>
    Stream StandardInput { get; }

    /// <summary>What it writes to stdout; read until its end.</summary>
    Stream StandardOutput { get; }

    /// <summary>What it writes to stderr; read until its end.</summary>
    Stream StandardError { get; }

    /// <summary>Completes when it has ended, with its exit code: 128 and more for a signal.</summary>
    Task<int> Exited { get; }

    /// <summary>Kills it, with what it has started where the system can tell. Does nothing if it has ended.</summary>
    void Kill();
}
