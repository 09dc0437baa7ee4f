#nullable enable
using System;
using System.Collections.Generic;
using System.IO;
using UnityEngine;

namespace Vramd.Unity
{
    /// <summary>How this project finds or starts its supervisor. Relative paths are below StreamingAssets.</summary>
    [CreateAssetMenu(fileName = ResourceName, menuName = "vramd/Settings")]
    public sealed class VramdSettings : ScriptableObject
    {
        /// <summary>Name of the asset in a folder Resources that is used where none is given.</summary>
        public const string ResourceName = "VramdSettings";

        /// <summary>Never starts a supervisor: uses the one of the runtime folder.</summary>
        [Tooltip("Never starts a supervisor: uses the one of the runtime folder.")]
        public bool attachOnly;

        /// <summary>Folders of models, or single files.</summary>
        [Tooltip("Folders of models, or single files. Relative ones are below StreamingAssets.")]
        public string[] models = { "models" };

        /// <summary>Configuration file of the supervisor; empty: none.</summary>
        [Tooltip("Configuration file of the supervisor (vramd.toml); empty: none.")]
        public string configFile = "";

        /// <summary>Program and arguments that start a supervisor; none: the runtime of this project, else that of the
        /// SDK's own search.</summary>
        [Tooltip("Program and arguments that start a supervisor. None: the runtime beside the player (in the editor: " +
            "that in the project's folder Vramd~), else VRAMD_COMMAND, else vramd on PATH.")]
        public string[] command = Array.Empty<string>();

        /// <summary>Runtime folder; empty: <c>Library/vramd</c> in the editor, <c>persistentDataPath/vramd</c> in a
        /// player.</summary>
        [Tooltip("Runtime folder; empty: Library/vramd in the editor, persistentDataPath/vramd in a player.")]
        public string runtimeFolder = "";

        /// <summary>Seconds that a start may take.</summary>
        [Min(1)]
        public float startTimeoutSeconds = 60;

        /// <summary>Mebibytes of a device that models leave to the renderer, for a day or as long as the supervisor
        /// lives; 0: none.</summary>
        [Min(0)]
        [Tooltip("Mebibytes of a device that models leave to the renderer; 0: none.")]
        public int reservedMebibytes;

        /// <summary>The device of these mebibytes.</summary>
        public string reservedDevice = "gpu0";

        /// <summary>The asset that is used where none is given, else one with the values above.</summary>
        public static VramdSettings Default()
        {
            var found = Resources.Load<VramdSettings>(ResourceName);
            return found != null ? found : CreateInstance<VramdSettings>();
        }

        /// <summary>The runtime folder, absolute.</summary>
        public string RuntimeDirectory => Path.GetFullPath(
            runtimeFolder.Length > 0 ? Path.Combine(Application.streamingAssetsPath, runtimeFolder)
            : Application.isEditor ? Path.Combine(ProjectFolder, "Library", "vramd")
            : Path.Combine(Application.persistentDataPath, "vramd"));

        /// <summary>What the SDK needs to find or start the supervisor.</summary>
        public SupervisorOptions Options() => new SupervisorOptions
        {
            Command = command.Length > 0 ? command : RuntimeCommand(),
            Models = Array.ConvertAll(models, model => Path.Combine(Application.streamingAssetsPath, model)),
            ConfigFile = configFile.Length > 0 ? Path.Combine(Application.streamingAssetsPath, configFile) : null,
            RuntimeDirectory = RuntimeDirectory,
            StartTimeout = TimeSpan.FromSeconds(startTimeoutSeconds),
            // The editor's pipes end with each domain reload, a player's with the player.
            Lifeline = Application.isEditor ? Lifeline.Owner : Lifeline.Stdin,
            Starter = Starter(),
            Client = ClientOptions(),
        };

        /// <summary>What each client of this project has.</summary>
        public static VramdClientOptions ClientOptions() => new VramdClientOptions { HttpHandler = Handlers.Make };

        /// <summary>The folder of a Python runtime that has vramd: that of the player, or for the editor that in the
        /// project's folder <c>Vramd~</c>.</summary>
        public static string RuntimeRoot => Application.isEditor
            ? Path.Combine(ProjectFolder, "Vramd~", PlatformName(Application.platform))
            : Application.platform == RuntimePlatform.OSXPlayer
            ? Path.Combine(Application.dataPath, "Resources", "vramd")
            : Path.Combine(Path.GetDirectoryName(Application.dataPath)!, "vramd");

        /// <summary>The name that a platform's runtime has in <c>Vramd~</c>.</summary>
        internal static string PlatformName(RuntimePlatform platform)
        {
            switch (platform)
            {
                case RuntimePlatform.WindowsEditor:
                case RuntimePlatform.WindowsPlayer:
                    return "windows";
                case RuntimePlatform.OSXEditor:
                case RuntimePlatform.OSXPlayer:
                    return "macos";
                default:
                    return "linux";
            }
        }

        internal static string ProjectFolder => Path.GetDirectoryName(Application.dataPath)!;

        // The interpreter and not the script beside it: that has the path in it where it was installed.
        private static IReadOnlyList<string>? RuntimeCommand()
        {
            foreach (var python in new[] { "python.exe", "bin/python3" })
            {
                var file = Path.Combine(RuntimeRoot, python);
                if (File.Exists(file))
                {
                    return new[] { file, "-m", "vramd" };
                }
            }
            return null;
        }

        private static IProcessStarter? Starter()
        {
#if ENABLE_IL2CPP && !UNITY_EDITOR
            return new NativeProcessStarter();
#else
            return null;
#endif
        }
    }
}
