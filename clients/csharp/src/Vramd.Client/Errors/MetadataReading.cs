using System;
using System.Collections.Generic;
using System.Globalization;

namespace Vramd;

/// <summary>Reads the metadata of a failure: null for what it does not have, or has in another form.</summary>
internal static class MetadataReading
{
    internal static string? ReadText(this IReadOnlyDictionary<string, string> metadata, string key) =>
        metadata.TryGetValue(key, out var text) ? text : null;

    internal static long? ReadLong(this IReadOnlyDictionary<string, string> metadata, string key) =>
        long.TryParse(metadata.ReadText(key), NumberStyles.Integer, CultureInfo.InvariantCulture, out var number)
            ? number
            : null;

    internal static int? ReadInt(this IReadOnlyDictionary<string, string> metadata, string key) =>
        int.TryParse(metadata.ReadText(key), NumberStyles.Integer, CultureInfo.InvariantCulture, out var number)
            ? number
            : null;

    internal static TimeSpan? ReadSeconds(this IReadOnlyDictionary<string, string> metadata, string key) =>
        double.TryParse(metadata.ReadText(key), NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds)
            ? Durations.FromSeconds(seconds)
            : null;
}
