namespace Vramd;

/// <summary>Ties a supervisor to the program that started it: it ends with that, however that ends.</summary>
public enum Lifeline
{
    /// <summary>The pipe that is the supervisor's stdin: the system closes it when the program ends.</summary>
    Stdin = 0,

    /// <summary>
    /// This process, by its id and start time. For hosts whose objects do not live as long as they do, such as Unity's
    /// editor, which drops every pipe when it loads its code again.
    /// </summary>
    Owner = 1,
}
