#nullable enable
using System.IO;
using UnityEditor;
using UnityEngine;

namespace Vramd.Unity.Editor
{
    /// <summary>The page "vramd" of the project's settings.</summary>
    internal static class VramdSettingsProvider
    {
        private const string Folder = "Assets/Resources";

        [SettingsProvider]
        private static SettingsProvider Make() => new SettingsProvider("Project/vramd", SettingsScope.Project)
        {
            guiHandler = _ => Show(),
            keywords = new[] { "vramd", "model", "LLM", "GGUF" },
        };

        private static void Show()
        {
            var settings = Resources.Load<VramdSettings>(VramdSettings.ResourceName);
            if (settings == null)
            {
                EditorGUILayout.HelpBox("This project uses the default settings.", MessageType.Info);
                if (GUILayout.Button("Create " + Folder + "/" + VramdSettings.ResourceName + ".asset"))
                {
                    Directory.CreateDirectory(Folder);
                    AssetDatabase.CreateAsset(
                        ScriptableObject.CreateInstance<VramdSettings>(),
                        $"{Folder}/{VramdSettings.ResourceName}.asset");
                    AssetDatabase.SaveAssets();
                }
                return;
            }
            var values = new SerializedObject(settings);
            var value = values.GetIterator();
            // The first one is the script.
            for (var more = value.NextVisible(true) && value.NextVisible(false); more; more = value.NextVisible(false))
            {
                EditorGUILayout.PropertyField(value, true);
            }
            values.ApplyModifiedProperties();
            EditorGUILayout.HelpBox(
                $"Runtime folder: {settings.RuntimeDirectory}\nPython runtime: {VramdSettings.RuntimeRoot}",
                MessageType.None);
        }
    }
}
