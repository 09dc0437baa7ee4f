using System;
using System.IO;
using System.Text;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>Reads what a process writes.</summary>
internal static class OutputLines
{
    private const int LongestLine = 16 << 10;

    /// <summary>Reads a stream to its end, line by line; a very long line comes in pieces.</summary>
    internal static async Task ReadAsync(Stream stream, Action<string> take)
    {
        using var reader = new StreamReader(stream, new UTF8Encoding(false), false, 4096, leaveOpen: true);
        var piece = new char[4096];
        var line = new StringBuilder();
        int count;
        while ((count = await reader.ReadAsync(piece, 0, piece.Length).ConfigureAwait(false)) > 0)
        {
            for (var at = 0; at < count; at++)
            {
                if (piece[at] != '\n')
                {
                    line.Append(piece[at]);
                }

                if (piece[at] == '\n' || line.Length == LongestLine)
                {
                    Give();
                }
            }
        }

        if (line.Length > 0)
        {
            Give();
        }

        void Give()
        {
            var whole = line.ToString().TrimEnd('\r');
            line.Clear();
            take(whole);
        }
    }
}
