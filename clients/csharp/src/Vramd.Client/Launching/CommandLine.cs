using System.Collections.Generic;
using System.Linq;
using System.Text;

namespace Vramd;

/// <summary>
/// Joins arguments to one line. The list that a process can be given instead is not read by every runtime: Mono starts
/// the process without arguments.
/// </summary>
internal static class CommandLine
{
    /// <summary>
    /// The line from which Windows, .NET and Mono read these arguments. Where Mono reads as a shell does, two backslashes
    /// one after the other are one.
    /// </summary>
    internal static string Of(IEnumerable<string> arguments) => string.Join(" ", arguments.Select(Quoted));

    private static string Quoted(string argument)
    {
        var quoted = new StringBuilder("\"");
        var backslashes = 0;
        foreach (var letter in argument)
        {
            // Backslashes are doubled before a quote, and nowhere else.
            quoted.Append('\\', letter == '"' ? backslashes + 1 : 0).Append(letter);
            backslashes = letter == '\\' ? backslashes + 1 : 0;
        }

        return quoted.Append('\\', backslashes).Append('"').ToString();
    }
}
