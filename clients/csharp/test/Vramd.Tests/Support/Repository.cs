using System.IO;
using System.Runtime.CompilerServices;

namespace Vramd.Tests.Support;

/// <summary>Where the sources of this program lie.</summary>
public static class Repository
{
    /// <summary>The folder of pyproject.toml.</summary>
    public static string Root { get; } = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Here())!, "../../../../.."));

    private static string Here([CallerFilePath] string path = "") => path;
}
