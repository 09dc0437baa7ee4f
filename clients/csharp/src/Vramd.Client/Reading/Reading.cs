using System;
using System.Collections.Generic;
using System.Linq;
using Google.Protobuf.Collections;

namespace Vramd;

// The parts that the generated readers are made of.
internal static partial class Reading
{
    private static TValue[] Each<TMessage, TValue>(RepeatedField<TMessage> messages, Func<TMessage, TValue> read)
    {
        var values = new TValue[messages.Count];
        for (var index = 0; index < values.Length; index++)
        {
            values[index] = read(messages[index]);
        }

        return values;
    }

    private static TValue? Maybe<TMessage, TValue>(TMessage? message, Func<TMessage, TValue> read)
        where TMessage : class
        where TValue : class => message is null ? null : read(message);

    /// <summary>The wire keeps no order.</summary>
    private static SortedDictionary<string, double> Sorted(MapField<string, double> numbers) =>
        new(numbers.ToDictionary(one => one.Key, one => one.Value), StringComparer.Ordinal);
}
