using System;
using System.Threading;
using UnityEngine;
using Vramd.Unity;

/// <summary>A character that speaks: its words appear in a text above it, no faster than one can read.</summary>
[RequireComponent(typeof(VramdChat))]
public sealed class SpeechBubble : MonoBehaviour
{
    public TextMesh bubble;
    public float lettersPerSecond = 30;

    private string _said = "";
    private float _shown;

    /// <summary>Has the character reply. What it was saying ends.</summary>
    public async void Say(string question)
    {
        var chat = GetComponent<VramdChat>();
        chat.Cancel();
        while (chat.Busy)
        {
            await System.Threading.Tasks.Task.Yield();
        }
        (_said, _shown) = ("", 0);
        try
        {
            await foreach (var piece in chat.StreamAsync(question, CancellationToken.None))
            {
                _said += piece;
            }
        }
        catch (OperationCanceledException)
        {
            // Another question came, or the scene ended.
        }
        catch (Vramd.VramdException error)
        {
            _said = "…";
            Debug.LogWarning(error.Message, this);
        }
    }

    private void Update()
    {
        _shown = Mathf.Min(_said.Length, _shown + (lettersPerSecond * Time.deltaTime));
        bubble.text = _said.Substring(0, (int)_shown);
    }
}
