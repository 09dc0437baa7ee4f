using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

namespace Vramd;

/// <summary>Finds the command that is vramd, and words its arguments.</summary>
internal static class SupervisorCommand
{
    private const string Variable = "VRAMD_COMMAND";
    private static readonly string[] OnPath = { "vramd" };
    private static readonly char[] Separators = { Path.DirectorySeparatorChar, Path.AltDirectorySeparatorChar };

    /// <summary>
    /// Finds the command: the one given, else that of VRAMD_COMMAND, else the one beside the program, else the one on
    /// PATH. Its first word is an absolute path.
    /// </summary>
    /// <param name="given">The one given; null: none.</param>
    /// <param name="variable">Reads a variable of the environment.</param>
    /// <param name="programFolder">Where this program lies.</param>
    /// <param name="windows">Names programs as Windows does.</param>
    /// <exception cref="StartFailedException">There is none.</exception>
    internal static IReadOnlyList<string> Find(
        IReadOnlyList<string>? given, Func<string, string?> variable, string programFolder, bool windows)
    {
        var path = variable("PATH") ?? "";
        if (given is { Count: > 0 })
        {
            return Whole(given, path, windows)
                ?? throw Missing($"there is no program {given[0]}, which the options name as the command");
        }

        if (variable(Variable) is { Length: > 0 } text)
        {
            var words = Words(text);
            return (words.Count == 0 ? null : Whole(words, path, windows))
                ?? throw Missing($"there is no program {text}, which {Variable} names");
        }

        return Beside(programFolder, windows)
            ?? Whole(OnPath, path, windows)
            ?? throw Missing(
                $"there is no vramd: {Variable} names none, none lies in {programFolder}, and none is on PATH; "
                + "install it (pip install 'vramd[server]'), or name its command in the options");
    }

    /// <summary>Words the arguments of a start.</summary>
    internal static IEnumerable<string> Arguments(SupervisorOptions options, string folder, int ownProcessId)
    {
        yield return "serve";
        yield return "--handshake=stdout";
        yield return options.Lifeline == Lifeline.Owner ? $"--lifeline=pid:{ownProcessId}" : "--lifeline=stdin";
        yield return $"--runtime-dir={folder}";
        yield return $"--port={options.Port}";
        if (options.Host is { } host)
        {
            yield return $"--host={host}";
        }

        if (options.ConfigFile is { } file)
        {
            yield return $"--config={Path.GetFullPath(file)}";
        }

        foreach (var models in options.Models)
        {
            yield return $"--models={Path.GetFullPath(models)}";
        }

        foreach (var budget in options.Budgets ?? new Dictionary<string, string>())
        {
            yield return $"--budget={budget.Key}={budget.Value}";
        }
    }

    private static string[]? Beside(string programFolder, bool windows)
    {
        var python = windows ? Path.Combine("vramd", "python.exe") : Path.Combine("vramd", "bin", "python3");
        var alone = Path.Combine(programFolder, windows ? "vramd.exe" : "vramd");
        if (File.Exists(alone))
        {
            return new[] { alone };
        }

        python = Path.Combine(programFolder, python);
        return File.Exists(python) ? new[] { python, "-m", "vramd" } : null;
    }

    /// <summary>The command with an absolute path; null: there is no such program.</summary>
    private static string[]? Whole(IReadOnlyList<string> command, string path, bool windows)
    {
        var name = command[0];
        var folders = name.IndexOfAny(Separators) < 0
            ? path.Split(new[] { Path.PathSeparator }, StringSplitOptions.RemoveEmptyEntries)
            : new[] { Directory.GetCurrentDirectory() };
        var endings = windows ? new[] { "", ".exe" } : new[] { "" };
        var found = folders
            .SelectMany(folder => endings.Select(ending => Path.GetFullPath(Path.Combine(folder, name + ending))))
            .FirstOrDefault(File.Exists);
        return found is null ? null : command.Skip(1).Prepend(found).ToArray();
    }

    /// <summary>The words of a line; a double quote begins or ends a part in which a space is no end of a word.</summary>
    private static List<string> Words(string line)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        var quoted = false;
        foreach (var letter in line + " ")
        {
            if (letter == '"')
            {
                quoted = !quoted;
            }
            else if (letter != ' ' || quoted)
            {
                word.Append(letter);
            }
            else if (word.Length > 0)
            {
                words.Add(word.ToString());
                word.Clear();
            }
        }

        return words;
    }

    private static StartFailedException Missing(string text) => new("START_FAILED", text);
}
