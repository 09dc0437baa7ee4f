namespace Vramd;

/// <summary>One turn of a conversation.</summary>
/// <param name="Role">"system", "user", "assistant", or another that the model's template knows.</param>
/// <param name="Text">The words of the turn.</param>
public readonly record struct Turn(string Role, string Text)
{
    /// <summary>What the model shall be like.</summary>
    public static Turn System(string text) => new("system", text);

    /// <summary>What the user says.</summary>
    public static Turn User(string text) => new("user", text);

    /// <summary>What the model has answered.</summary>
    public static Turn Assistant(string text) => new("assistant", text);
}
