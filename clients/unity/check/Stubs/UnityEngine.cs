#nullable enable
using System;
using System.Collections.Generic;

namespace UnityEngine
{
    public enum RuntimePlatform
    {
        OSXEditor = 0,
        OSXPlayer = 1,
        WindowsPlayer = 2,
        WindowsEditor = 7,
        LinuxPlayer = 13,
        LinuxEditor = 16,
    }

    public enum RuntimeInitializeLoadType
    {
        SubsystemRegistration = 4,
    }

    public static class Application
    {
        public static event Action? quitting;

        public static bool isEditor { get; set; } = true;

        public static RuntimePlatform platform { get; set; } = RuntimePlatform.LinuxEditor;

        public static string dataPath { get; set; } = "";

        public static string persistentDataPath { get; set; } = "";

        public static string streamingAssetsPath { get; set; } = "";

        public static string productName { get; set; } = "game";

        public static void Quit() => quitting?.Invoke();
    }

    public static class Debug
    {
        public static List<string> Said { get; } = new List<string>();

        public static void Log(object message, Object? context = null) => Said.Add($"{message}");

        public static void LogWarning(object message, Object? context = null) => Said.Add($"warning: {message}");
    }

    public static class Resources
    {
        public static T? Load<T>(string path)
            where T : Object => null;
    }

    public static class Time
    {
        public static float deltaTime => 1f / 30;
    }

    public static class Mathf
    {
        public static float Min(float one, float other) => Math.Min(one, other);
    }

    public struct Vector2
    {
    }

    public struct Rect
    {
        public Rect(float x, float y, float width, float height)
        {
            (this.x, this.y, this.width, this.height) = (x, y, width, height);
        }

        public float x { get; set; }

        public float y { get; set; }

        public float width { get; set; }

        public float height { get; set; }
    }

    public class GUIContent
    {
    }

    public class GUIStyle
    {
    }

    public class GUILayoutOption
    {
    }

    public static class GUILayout
    {
        public static bool Button(string text, params GUILayoutOption[] options) => throw new NotSupportedException();

        public static bool Button(string text, GUIStyle style, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static void Label(string text, params GUILayoutOption[] options) => throw new NotSupportedException();

        public static void Label(string text, GUIStyle style, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static string TextField(string text, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static int Toolbar(int selected, string[] texts, params GUILayoutOption[] options) =>
            throw new NotSupportedException();

        public static void FlexibleSpace() => throw new NotSupportedException();

        public static GUILayoutOption Width(float width) => throw new NotSupportedException();

        public static GUILayoutOption ExpandHeight(bool expand) => throw new NotSupportedException();
    }

    [AttributeUsage(AttributeTargets.Field)]
    public abstract class PropertyAttribute : Attribute
    {
    }

    public sealed class TooltipAttribute : PropertyAttribute
    {
        public TooltipAttribute(string tooltip)
        {
        }
    }

    public sealed class MinAttribute : PropertyAttribute
    {
        public MinAttribute(float min)
        {
        }
    }

    public sealed class TextAreaAttribute : PropertyAttribute
    {
        public TextAreaAttribute(int minLines, int maxLines)
        {
        }
    }

    public sealed class AddComponentMenu : Attribute
    {
        public AddComponentMenu(string menuName)
        {
        }
    }

    public sealed class DisallowMultipleComponent : Attribute
    {
    }

    public sealed class DefaultExecutionOrder : Attribute
    {
        public DefaultExecutionOrder(int order)
        {
        }
    }

    public sealed class RequireComponent : Attribute
    {
        public RequireComponent(Type requiredComponent)
        {
        }
    }

    public sealed class CreateAssetMenuAttribute : Attribute
    {
        public string fileName { get; set; } = "";

        public string menuName { get; set; } = "";
    }

    public sealed class RuntimeInitializeOnLoadMethodAttribute : Attribute
    {
        public RuntimeInitializeOnLoadMethodAttribute(RuntimeInitializeLoadType loadType)
        {
        }
    }
}

namespace UnityEngine.Events
{
    public class UnityEvent
    {
        private Action? _calls;

        public void AddListener(Action call) => _calls += call;

        public void Invoke() => _calls?.Invoke();
    }

    public class UnityEvent<T0>
    {
        private Action<T0>? _calls;

        public void AddListener(Action<T0> call) => _calls += call;

        public void Invoke(T0 value) => _calls?.Invoke(value);
    }
}
