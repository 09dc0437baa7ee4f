using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;

namespace Vramd.Bench;

/// <summary>The rounds of all arms as a table, and how they compare.</summary>
/// <param name="Rounds">By the name of the arm.</param>
internal sealed record Report(IReadOnlyDictionary<string, IReadOnlyList<Figures>> Rounds)
{
    private const string Begin = "<!-- bench -->";
    private const string End = "<!-- /bench -->";

    /// <summary>What the client is meant to hold: the quantity, its value, and the most that it may be.</summary>
    public IReadOnlyList<Bar> Bars =>
    [
        new("CPU per token, to grpcio", Ratio("grpcio", one => one.CpuPerToken), 0.6),
        new("CPU per token, to the stub", Ratio("grpc-dotnet stub", one => one.CpuPerToken), 1.5),
        new("bytes allocated per token", Median(Rounds["Vramd.Client"].Select(one => one.BytesPerToken!.Value)), 1024),
        new("median of a call, to grpcio", Ratio("grpcio", one => one.Unary), 1.1),
    ];

    internal static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>A table in Markdown.</summary>
    internal string Table()
    {
        var table = new StringBuilder("| client | CPU per token | allocated per token | median of a call |\n| --- | --- | --- | --- |\n");
        foreach (var (arm, rounds) in Rounds)
        {
            var bytes = rounds.Select(one => one.BytesPerToken).Any(one => one is null)
                ? "" : Text($"{Median(rounds.Select(one => one.BytesPerToken!.Value)):0} B");
            table.Append(Text(
                $"| {arm} | {Of(rounds, one => one.CpuPerToken):0.0} µs | {bytes} | {Of(rounds, one => one.Unary):0} µs |\n"));
        }
        return table.ToString();
    }

    /// <summary>Replaces what lies between the marks of a file with the table.</summary>
    internal void Write(string file)
    {
        var text = File.ReadAllText(file);
        var (begin, end) = (text.IndexOf(Begin, StringComparison.Ordinal), text.IndexOf(End, StringComparison.Ordinal));
        if (begin < 0 || end < begin)
        {
            throw new InvalidDataException($"{file} has no {Begin} … {End}");
        }
        File.WriteAllText(file, $"{text[..(begin + Begin.Length)]}\n{Table()}{text[end..]}");
    }

    /// <summary>The median over the rounds of the client's figure, divided by that of another arm in the same round.</summary>
    private double Ratio(string arm, Func<Figures, double> figure) =>
        Median(Rounds["Vramd.Client"].Zip(Rounds[arm], (own, other) => figure(own) / figure(other)));

    private static double Of(IEnumerable<Figures> rounds, Func<Figures, double> figure) => Median(rounds.Select(figure));

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>A quantity, and the most that it is meant to be.</summary>
internal sealed record Bar(string What, double Value, double Most)
{
    /// <summary>Whether it is no more than that.</summary>
    public bool Held => Value <= Most;
}
