#nullable enable
using System.IO;
using UnityEditor;
using UnityEditor.Build;
using UnityEditor.Build.Reporting;
using UnityEngine;

namespace Vramd.Unity.Editor
{
    /// <summary>Copies the Python runtime of the project's folder <c>Vramd~</c> to where the player looks for
    /// it.</summary>
    internal sealed class VramdBuild : IPostprocessBuildWithReport
    {
        /// <inheritdoc/>
        public int callbackOrder => 0;

        /// <inheritdoc/>
        public void OnPostprocessBuild(BuildReport report)
        {
            if (!(Platform(report.summary.platform) is RuntimePlatform platform))
            {
                return;
            }
            var from = Path.Combine(VramdSettings.ProjectFolder, "Vramd~", VramdSettings.PlatformName(platform));
            if (!Directory.Exists(from))
            {
                Debug.LogWarning($"vramd: no Python runtime in {from}: the player only finds a supervisor that runs");
                return;
            }
            var to = PlayerRuntime(platform, report.summary.outputPath);
            if (Directory.Exists(to))
            {
                Directory.Delete(to, recursive: true);
            }
            Copy(from, to);
        }

        /// <summary>Where a player made at this path looks for its runtime.</summary>
        internal static string PlayerRuntime(RuntimePlatform platform, string player) =>
            platform == RuntimePlatform.OSXPlayer
                ? Path.Combine(player, "Contents", "Resources", "vramd")
                : Path.Combine(Path.GetDirectoryName(player)!, "vramd");

        private static RuntimePlatform? Platform(BuildTarget target)
        {
            switch (target)
            {
                case BuildTarget.StandaloneWindows64:
                    return RuntimePlatform.WindowsPlayer;
                case BuildTarget.StandaloneOSX:
                    return RuntimePlatform.OSXPlayer;
                case BuildTarget.StandaloneLinux64:
                    return RuntimePlatform.LinuxPlayer;
                default:
                    return null;
            }
        }

        /// <summary>Copies a folder without what Python makes again by itself.</summary>
        internal static void Copy(string from, string to)
        {
            Directory.CreateDirectory(to);
            foreach (var file in Directory.GetFiles(from))
            {
                File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
            }
            foreach (var folder in Directory.GetDirectories(from))
            {
                if (Path.GetFileName(folder) != "__pycache__")
                {
                    Copy(folder, Path.Combine(to, Path.GetFileName(folder)));
                }
            }
        }
    }
}
