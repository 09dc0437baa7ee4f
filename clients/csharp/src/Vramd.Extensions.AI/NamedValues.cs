using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text.Json;

namespace Vramd;

/// <summary>
/// Reads values of additional properties: of the setting's type, of another number type, as a word, or as JSON. Pure.
/// </summary>
internal static class NamedValues
{
    internal static int? ToInt(string name, object? value) =>
        Read(name, value, static (plain, culture) => (int)Whole(plain, culture));

    internal static uint? ToUint(string name, object? value) =>
        Read(name, value, static (plain, culture) => (uint)Whole(plain, culture));

    internal static float? ToFloat(string name, object? value) => Read(name, value, Convert.ToSingle);

    internal static bool? ToBool(string name, object? value) => Read(name, value, Convert.ToBoolean);

    internal static string? ToText(string name, object? value) => Plain(value) switch
    {
        null => null,
        string text => text,
        var other => throw Wrong(name, other),
    };

    /// <summary>A number is one of seconds; -1 is for ever.</summary>
    internal static TimeSpan? ToDuration(string name, object? value) => Plain(value) is TimeSpan duration
        ? duration
        : Read(name, value, Convert.ToDouble) is { } seconds
            ? seconds == -1 ? System.Threading.Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(seconds)
            : null;

    /// <summary>The enum itself, or its word on the wire: <c>q8_0</c>.</summary>
    internal static T? ToWord<T>(string name, object? value)
        where T : struct, Enum => Plain(value) switch
        {
            null => null,
            T word => word,
            string text when Enum.TryParse<T>(text.Replace("_", ""), ignoreCase: true, out var word)
                && text.Any(char.IsLetter) => word,
            var other => throw Wrong(name, other),
        };

    internal static IReadOnlyList<string>? ToTexts(string name, object? value) => Plain(value) switch
    {
        null => null,
        string text => new[] { text },
        IEnumerable<string> texts => texts.ToArray(),
        JsonElement { ValueKind: JsonValueKind.Array } list =>
            list.EnumerateArray().Select(one => ToText(name, one) ?? throw Wrong(name, one)).ToArray(),
        var other => throw Wrong(name, other),
    };

    internal static GpuLayers? ToGpuLayers(string name, object? value) => Plain(value) switch
    {
        GpuLayers layers => layers,
        "all" => GpuLayers.All,
        "auto" => GpuLayers.Auto,
        var other => ToInt(name, other),
    };

    internal static Outputs? ToOutputs(string name, object? value) => Plain(value) switch
    {
        Outputs outputs => outputs,
        "all" => Outputs.All,
        "auto" => Outputs.Auto,
        var other => ToInt(name, other),
    };

    private static T? Read<T>(string name, object? value, Func<object, IFormatProvider, T> convert)
        where T : struct
    {
        var plain = Plain(value);
        try
        {
            return plain is null ? null : convert(plain, CultureInfo.InvariantCulture);
        }
        catch (Exception error) when (error is FormatException or InvalidCastException or OverflowException)
        {
            throw Wrong(name, plain!);
        }
    }

    private static decimal Whole(object plain, IFormatProvider culture)
    {
        var number = Convert.ToDecimal(plain, culture);
        return number == decimal.Truncate(number) ? number : throw new FormatException();
    }

    /// <summary>A value without its wrapping in JSON.</summary>
    private static object? Plain(object? value) => value is JsonElement json
        ? json.ValueKind switch
        {
            JsonValueKind.Null or JsonValueKind.Undefined => null,
            JsonValueKind.String => json.GetString(),
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Number => json.GetDouble(),
            _ => json,
        }
        : value;

    private static InvalidRequestException Wrong(string name, object value) => new(
        Reasons.FieldInvalid,
        $"{name}: {value} ({value.GetType().Name}) is none of its values",
        new Dictionary<string, string> { ["field"] = name });
}
