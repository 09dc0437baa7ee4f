#nullable enable
using UnityEditor;

namespace Vramd.Unity.Editor
{
    /// <summary>Ends calls before what waits for them is gone: an open channel would keep the editor from loading
    /// code.</summary>
    /// <remarks>The supervisor and its models live on: they end with the editor's process.</remarks>
    [InitializeOnLoad]
    internal static class EditorLifeline
    {
        static EditorLifeline()
        {
            AssemblyReloadEvents.beforeAssemblyReload += Close;
            EditorApplication.quitting += Close;
            EditorApplication.playModeStateChanged += change =>
            {
                if (change == PlayModeStateChange.ExitingPlayMode)
                {
                    VramdHost.CloseAll();
                }
            };
        }

        private static void Close()
        {
            VramdHost.CloseAll();
            EditorSupervisor.Forget();
        }
    }
}
