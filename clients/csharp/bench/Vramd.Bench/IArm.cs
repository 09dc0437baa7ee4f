using System;
using System.Threading.Tasks;

namespace Vramd.Bench;

/// <summary>One client of the supervisor, measured in turn with others.</summary>
internal interface IArm : IAsyncDisposable
{
    /// <summary>Its name in the table.</summary>
    string Name { get; }

    /// <summary>Streams an answer of so many tokens, then makes so many calls with one answer.</summary>
    Task<Figures> RunAsync(int tokens, int calls);
}
