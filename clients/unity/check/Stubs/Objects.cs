#nullable enable
using System;
using System.Collections.Generic;
using System.Reflection;

// The part of Unity's API that the package uses. Signatures are Unity's; what runs here does what Unity says that it
// does.
namespace UnityEngine
{
    public class Object
    {
        private bool _destroyed;

        public string name { get; set; } = "";

        public static bool operator ==(Object? one, Object? other) =>
            one is null || one._destroyed
                ? other is null || other._destroyed || ReferenceEquals(one, other)
                : ReferenceEquals(one, other);

        public static bool operator !=(Object? one, Object? other) => !(one == other);

        public override bool Equals(object? other) => this == other as Object;

        public override int GetHashCode() => base.GetHashCode();

        public static void DontDestroyOnLoad(Object target)
        {
        }

        public static void Destroy(Object target)
        {
            target.Gone();
            target._destroyed = true;
        }

        protected virtual void Gone()
        {
        }
    }

    public class Component : Object
    {
        public GameObject gameObject { get; internal set; } = null!;

        public T GetComponent<T>() => gameObject.GetComponent<T>();
    }

    public class Behaviour : Component
    {
        private bool _enabled;

        public bool enabled
        {
            get => _enabled;
            set
            {
                if (_enabled != value)
                {
                    _enabled = value;
                    Send(value ? "OnEnable" : "OnDisable");
                }
            }
        }

        // Unity calls methods by their names, wherever in the class they are.
        internal void Send(string message)
        {
            for (var type = GetType(); type != null; type = type.BaseType)
            {
                var method = type.GetMethod(
                    message,
                    BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly);
                if (method != null)
                {
                    method.Invoke(this, null);
                    return;
                }
            }
        }

        protected override void Gone()
        {
            enabled = false;
            Send("OnDestroy");
        }
    }

    public class MonoBehaviour : Behaviour
    {
        internal bool Started { get; set; }
    }

    public class ScriptableObject : Object
    {
        public static T CreateInstance<T>()
            where T : ScriptableObject => Activator.CreateInstance<T>();
    }

    public sealed class GameObject : Object
    {
        private readonly List<MonoBehaviour> _components = new List<MonoBehaviour>();

        public GameObject(string name)
        {
            this.name = name;
            FrameLoop.Add(this);
        }

        internal IReadOnlyList<MonoBehaviour> Components => _components;

        /// <summary>While it is false, components that are added do not wake yet.</summary>
        public bool activeSelf { get; private set; } = true;

        public void SetActive(bool active)
        {
            activeSelf = active;
            foreach (var component in _components.ToArray())
            {
                Wake(component, active);
            }
        }

        public T AddComponent<T>()
            where T : Component, new()
        {
            var component = new T { gameObject = this };
            if (component is MonoBehaviour behaviour)
            {
                _components.Add(behaviour);
                Wake(behaviour, activeSelf);
            }
            return component;
        }

        public T GetComponent<T>()
        {
            foreach (var component in _components)
            {
                if (component is T found)
                {
                    return found;
                }
            }
            return default!;
        }

        protected override void Gone()
        {
            foreach (var component in _components)
            {
                Destroy(component);
            }
            FrameLoop.Remove(this);
        }

        private readonly HashSet<MonoBehaviour> _awake = new HashSet<MonoBehaviour>();

        private void Wake(MonoBehaviour component, bool active)
        {
            if (active && _awake.Add(component))
            {
                component.Send("Awake");
            }
            component.enabled = active;
        }
    }

    public class TextMesh : Component
    {
        public string text { get; set; } = "";
    }
}
