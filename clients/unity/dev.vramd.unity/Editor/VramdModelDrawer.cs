#nullable enable
using System;
using System.Linq;
using UnityEditor;
using UnityEngine;

namespace Vramd.Unity.Editor
{
    /// <summary>Draws the id of a model: a field for it, and the models that the running supervisor knows.</summary>
    [CustomPropertyDrawer(typeof(VramdModelAttribute))]
    internal sealed class VramdModelDrawer : PropertyDrawer
    {
        private const double LookEverySeconds = 5;
        private const float ListWidth = 20;
        private static string[] s_known = Array.Empty<string>();
        private static double s_looked = double.NegativeInfinity;

        public override void OnGUI(Rect position, SerializedProperty property, GUIContent label)
        {
            if (EditorApplication.timeSinceStartup - s_looked > LookEverySeconds)
            {
                s_looked = EditorApplication.timeSinceStartup;
                Look();
            }
            var field = new Rect(position.x, position.y, position.width - ListWidth, position.height);
            var list = new Rect(position.x + field.width, position.y, ListWidth, position.height);
            property.stringValue = EditorGUI.TextField(field, label, property.stringValue);
            var now = Array.IndexOf(s_known, property.stringValue);
            var chosen = EditorGUI.Popup(list, now, s_known);
            if (chosen != now && chosen >= 0)
            {
                property.stringValue = s_known[chosen];
            }
        }

        private static async void Look()
        {
            try
            {
                if (EditorSupervisor.Find() is VramdClient client)
                {
                    s_known = (await client.ModelsAsync()).Select(model => model.Id).ToArray();
                }
            }
            catch (Exception)
            {
                // The window says what is wrong; here the field takes any id.
                EditorSupervisor.Forget();
            }
        }
    }
}
