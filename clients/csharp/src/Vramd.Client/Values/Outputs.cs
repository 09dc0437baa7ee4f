using System.Globalization;

namespace Vramd;

/// <summary>
/// Results of one computation: a number of tokens, <see cref="Auto"/> for one of each sequence, or <see cref="All"/> for
/// one of each token.
/// </summary>
public readonly record struct Outputs
{
    private readonly V1.OutputRule _rule;
    private readonly int _number;

    private Outputs(V1.OutputRule rule, int number)
    {
        _rule = rule;
        _number = number;
    }

    /// <summary>One for each sequence.</summary>
    public static Outputs Auto => new(V1.OutputRule.Auto, 0);

    /// <summary>One for each token.</summary>
    public static Outputs All => new(V1.OutputRule.All, 0);

    /// <summary>So many tokens, 1 or more.</summary>
    public static implicit operator Outputs(int number) => new(V1.OutputRule.Unspecified, number);

    /// <summary>"auto", "all" or the number.</summary>
    public override string ToString() =>
        this == Auto ? "auto" : this == All ? "all" : _number.ToString(CultureInfo.InvariantCulture);

    internal void Fill(V1.LoadOptions options)
    {
        if (_rule == V1.OutputRule.Unspecified)
        {
            options.OutputTokens = Requests.Number("outputs", _number);
        }
        else
        {
            options.OutputRule = _rule;
        }
    }
}
