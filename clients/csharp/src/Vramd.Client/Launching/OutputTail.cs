using System.Text;

namespace Vramd;

/// <summary>The last 4 KiB of what a process has written. Safe for all threads.</summary>
internal sealed class OutputTail
{
    private const int Most = 4096;

    private readonly StringBuilder _text = new();

    /// <summary>Adds a line.</summary>
    internal void Add(string line)
    {
        lock (_text)
        {
            _text.Append(line).Append('\n');
            if (_text.Length > Most)
            {
                _text.Remove(0, _text.Length - Most);
            }
        }
    }

    /// <summary>What there is, without white space around it.</summary>
    public override string ToString()
    {
        lock (_text)
        {
            return _text.ToString().Trim();
        }
    }
}
