using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

namespace Vramd;

/// <summary>Folders that this user alone may enter (0700); on Windows those of the user's profile are.</summary>
internal static class PrivateFolder
{
    private const uint Mode = 0b111_000_000;

    /// <summary>Makes it, with the folders above it, unless it is there.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">A folder above it cannot be made.</exception>
    internal static void Make(string path)
    {
        if (Directory.Exists(path))
        {
            return;
        }

        if (RuntimeInformation.IsOSPlatform(OSPlatform.Windows))
        {
            Directory.CreateDirectory(path);
            return;
        }

        if (Path.GetDirectoryName(path) is { Length: > 0 } above)
        {
            Directory.CreateDirectory(above);
        }

        if (MakeDirectory(Encoding.UTF8.GetBytes(path + '\0'), Mode) != 0 && !Directory.Exists(path))
        {
            throw new IOException($"{path}: the folder cannot be made (error {Marshal.GetLastWin32Error()})");
        }
    }

    /// <summary>Makes one with a name that no other has, for temporary files.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    internal static string MakeTemporary()
    {
        // Short: the path of a worker's socket below it has a limit.
        var path = Path.Combine(Path.GetTempPath(), $"vramd-{Guid.NewGuid().ToString("N")[..12]}");
        Make(path);
        return path;
    }

    /// <summary>Deletes a temporary one, as far as it can be deleted: what is left is the system's to clear.</summary>
    internal static void Delete(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
        }
    }

    [DllImport("libc", EntryPoint = "mkdir", SetLastError = true)]
    private static extern int MakeDirectory(byte[] path, uint mode);
}
