using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

namespace Vramd;

/// <summary>
/// Says whether a folder is this user's alone. On macOS, and where the C library has no statx, only that it is a folder:
/// neither has been run.
/// </summary>
internal static class FolderOwner
{
    /// <summary>Bits of a mode that others must not have, and the mode that is asked for.</summary>
    internal static readonly (int Bits, int Asked) Private = (0x1FF, 0x1C0);

    internal static readonly (int Bits, int Asked) NotWritableByAll = (0x002, 0);

    // The kernel's structure of statx, the same on every machine.
    private const int CurrentFolder = -100;
    private const int NoFollow = 0x100;
    private const uint Basic = 0x7FF;
    private const int Size = 256;
    private const int UserAt = 20;
    private const int ModeAt = 28;
    private const int KindBits = 0xF000;
    private const int Folder = 0x4000;

    internal static uint CurrentUser() => geteuid();

    /// <summary>Why it cannot be used, in words; null: it can.</summary>
    internal static string? ProblemOf(string path, (int Bits, int Asked) mode, bool mayBeMissing)
    {
        try
        {
            return RuntimeInformation.IsOSPlatform(OSPlatform.Linux)
                ? ProblemOnLinux(path, mode, mayBeMissing)
                : ProblemElsewhere(path, mayBeMissing);
        }
        catch (EntryPointNotFoundException)
        {
            return ProblemElsewhere(path, mayBeMissing);
        }
    }

    private static string? ProblemElsewhere(string path, bool mayBeMissing) =>
        Directory.Exists(path) || mayBeMissing ? null : $"{path} is missing";

    private static string? ProblemOnLinux(string path, (int Bits, int Asked) mode, bool mayBeMissing)
    {
        var found = new byte[Size];
        // A trailing slash would follow a link.
        var name = Encoding.UTF8.GetBytes(path.TrimEnd('/') + "\0");
        if (statx(CurrentFolder, name, NoFollow, Basic, found) != 0)
        {
            return mayBeMissing && !Directory.Exists(path) ? null : $"{path} cannot be looked at";
        }

        var user = BitConverter.ToUInt32(found, UserAt);
        var bits = BitConverter.ToUInt16(found, ModeAt);
        return (bits & KindBits) != Folder ? $"{path} is no folder"
            : user != geteuid() ? $"{path} is owned by user {user}, not {geteuid()}"
            : (bits & mode.Bits) != mode.Asked ? $"{path} has mode {Convert.ToString(bits & 0x1FF, 8)}"
            : null;
    }

    [DllImport("libc")]
    private static extern uint geteuid();

    [DllImport("libc")]
    private static extern int statx(int folder, byte[] path, int flags, uint mask, byte[] found);
}
