using UnityEngine;
using Vramd.Unity;

/// <summary>Asks one model, and shows its reply as it comes. Put it on an empty game object and press Play.</summary>
[RequireComponent(typeof(VramdChat))]
public sealed class HelloChat : MonoBehaviour
{
    private VramdChat _chat;
    private string _question = "Say hello.";
    private string _shown = "";

    private void Awake()
    {
        _chat = GetComponent<VramdChat>();
        _chat.onText.AddListener(text => _shown = text);
        _chat.onError.AddListener(reason => _shown = reason);
    }

    private void OnGUI()
    {
        _question = GUILayout.TextField(_question, GUILayout.Width(400));
        if (_chat.Busy)
        {
            if (GUILayout.Button("Stop"))
            {
                _chat.Cancel();
            }
        }
        else if (GUILayout.Button("Ask"))
        {
            _chat.Ask(_question);
        }
        GUILayout.Label(_shown, GUILayout.Width(400));
    }
}
