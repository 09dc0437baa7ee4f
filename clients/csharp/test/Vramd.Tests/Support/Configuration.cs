using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace Vramd.Tests.Support;

/// <summary>Writes the tables of a supervisor's configuration.</summary>
public static class Configuration
{
    /// <summary>A device of 8 GiB that is a number only; simulated models declare their bytes on it.</summary>
    public const string Card = "[devices.card]\nkind = \"virtual\"\ntotal = \"8GiB\"\n";

    /// <summary>
    /// The table of a simulated model: it loads in 0.1 s and gives 500 tokens per second, unless other
    /// <paramref name="settings"/> are given, each a key of the table and its value in TOML.
    /// </summary>
    public static string Simulated(
        string model, string card = "1GiB", string host = "60MiB", params (string Key, object Value)[] settings)
    {
        var keys = new Dictionary<string, object> { ["load_s"] = 0.1, ["tokens_per_s"] = 500 };
        foreach (var (key, value) in settings)
        {
            keys[key] = value;
        }
        var lines = keys.Select(one => $"{one.Key} = {Toml(one.Value)}\n");
        var memory = $"memory = {{ host = \"{host}\"{(card == "" ? "" : $", card = \"{card}\"")} }}";
        return $"[models.{model}]\nengine = \"simulated\"\n{memory}\n{string.Concat(lines)}";
    }

    /// <summary>The table of a model that is a GGUF file.</summary>
    public static string File(string model, string path, params (string Key, object Value)[] settings) =>
        $"[models.{model}]\npath = {Toml(path)}\n"
        + string.Concat(settings.Select(one => $"{one.Key} = {Toml(one.Value)}\n"));

    private static string Toml(object value) => value switch
    {
        string text => $"\"{text.Replace("\\", "\\\\").Replace("\"", "\\\"")}\"",
        string[] list => $"[{string.Join(", ", list.Select(Toml))}]",
        bool flag => flag ? "true" : "false",
        _ => string.Create(CultureInfo.InvariantCulture, $"{value}"),
    };
}
