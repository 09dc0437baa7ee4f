#nullable enable
using System;
using System.Collections.Generic;
using UnityEngine;

namespace UnityEditor
{
    public enum MessageType
    {
        None,
        Info,
        Warning,
        Error,
    }

    public enum PlayModeStateChange
    {
        EnteredEditMode,
        ExitingEditMode,
        EnteredPlayMode,
        ExitingPlayMode,
    }

    public enum BuildTarget
    {
        StandaloneOSX = 2,
        StandaloneWindows64 = 19,
        StandaloneLinux64 = 24,
    }

    public enum SettingsScope
    {
        User,
        Project,
    }

    public static class EditorApplication
    {
        public static event Action? quitting
        {
            add { }
            remove { }
        }

        public static event Action<PlayModeStateChange>? playModeStateChanged
        {
            add { }
            remove { }
        }

        public static double timeSinceStartup => throw new NotSupportedException();
    }

    public static class AssemblyReloadEvents
    {
        public delegate void AssemblyReloadCallback();

        public static event AssemblyReloadCallback? beforeAssemblyReload
        {
            add { }
            remove { }
        }
    }

    public static class AssetDatabase
    {
        public static void CreateAsset(UnityEngine.Object asset, string path) => throw new NotSupportedException();

        public static void SaveAssets() => throw new NotSupportedException();
    }

    public class EditorWindow : ScriptableObject
    {
        public static T GetWindow<T>(string title)
            where T : EditorWindow => throw new NotSupportedException();

        public void Repaint() => throw new NotSupportedException();
    }

    public static class EditorStyles
    {
        public static GUIStyle toolbar => throw new NotSupportedException();

        public static GUIStyle toolbarButton => throw new NotSupportedException();

        public static GUIStyle miniLabel => throw new NotSupportedException();

        public static GUIStyle textArea => throw new NotSupportedException();
    }

    public static class EditorGUI
    {
        public static void ProgressBar(Rect position, float value, string text) => throw new NotSupportedException();

        public static string TextField(Rect position, GUIContent label, string text) =>
            throw new NotSupportedException();

        public static int Popup(Rect position, int selectedIndex, string[] displayedOptions) =>
            throw new NotSupportedException();
    }

    public static class EditorGUILayout
    {
        public static Rect BeginHorizontal(params GUILayoutOption[] options) => throw new NotSupportedException();

        public static Rect BeginHorizontal(GUIStyle style, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static void EndHorizontal() => throw new NotSupportedException();

        public static Vector2 BeginScrollView(Vector2 scroll, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static void EndScrollView() => throw new NotSupportedException();

        public static void LabelField(string label, string label2, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static void SelectableLabel(string text, GUIStyle style, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static void HelpBox(string message, MessageType type) => throw new NotSupportedException();

        public static Rect GetControlRect(params GUILayoutOption[] options) => throw new NotSupportedException();

        public static bool PropertyField(
            SerializedProperty property, bool children, params GUILayoutOption[] options) =>
            throw new NotSupportedException();
    }

    public class SerializedObject
    {
        public SerializedObject(UnityEngine.Object obj) => throw new NotSupportedException();

        public SerializedProperty GetIterator() => throw new NotSupportedException();

        public bool ApplyModifiedProperties() => throw new NotSupportedException();
    }

    public class SerializedProperty
    {
        public string stringValue { get; set; } = "";

        public bool NextVisible(bool enterChildren) => throw new NotSupportedException();
    }

    public abstract class PropertyDrawer
    {
        public virtual void OnGUI(Rect position, SerializedProperty property, GUIContent label)
        {
        }
    }

    public class SettingsProvider
    {
        public SettingsProvider(string path, SettingsScope scopes, IEnumerable<string>? keywords = null)
        {
        }

        public Action<string>? guiHandler { get; set; }

        public IEnumerable<string> keywords { get; set; } = Array.Empty<string>();
    }

    public sealed class SettingsProviderAttribute : Attribute
    {
    }

    public sealed class InitializeOnLoadAttribute : Attribute
    {
    }

    public sealed class MenuItem : Attribute
    {
        public MenuItem(string itemName)
        {
        }
    }

    public sealed class CustomPropertyDrawer : Attribute
    {
        public CustomPropertyDrawer(Type type)
        {
        }
    }
}

namespace UnityEditor.Build
{
    public interface IOrderedCallback
    {
        int callbackOrder { get; }
    }

    public interface IPostprocessBuildWithReport : IOrderedCallback
    {
        void OnPostprocessBuild(Reporting.BuildReport report);
    }
}

namespace UnityEditor.Build.Reporting
{
    public struct BuildSummary
    {
        public BuildTarget platform { get; set; }

        public string outputPath { get; set; }
    }

    public sealed class BuildReport : UnityEngine.Object
    {
        public BuildSummary summary { get; set; }
    }
}

namespace UnityEditor.UnityLinker
{
    public sealed class UnityLinkerBuildPipelineData
    {
    }

    public interface IUnityLinkerProcessor : Build.IOrderedCallback
    {
        string GenerateAdditionalLinkXmlFile(Build.Reporting.BuildReport report, UnityLinkerBuildPipelineData data);
    }
}
