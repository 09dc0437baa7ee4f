using System.IO;
using System.Threading.Tasks;

namespace Vramd.Tests.Support;

/// <summary>Removes folders into which processes that end now may still write.</summary>
internal static class Folders
{
    /// <summary>Waits until a folder is gone with all that is in it.</summary>
    public static Task DeleteAsync(DirectoryInfo folder) => Bounds.Until($"{folder} is gone", () => Delete(folder));

    private static bool Delete(DirectoryInfo folder)
    {
        try
        {
            folder.Delete(recursive: true);
            return true;
        }
        catch (IOException)
        {
            return false; // it is not empty: a file came meanwhile
        }
    }
}
