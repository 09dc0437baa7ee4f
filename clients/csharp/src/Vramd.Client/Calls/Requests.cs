using System;
using System.Text;

namespace Vramd;

/// <summary>Checks the arguments of calls. Pure.</summary>
internal static class Requests
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    /// <summary>The text itself.</summary>
    /// <exception cref="InvalidRequestException">It has half a surrogate pair, so it cannot be written in UTF-8.</exception>
    internal static string Text(string field, string text)
    {
        if (text is null)
        {
            throw new ArgumentNullException(field);
        }

        try
        {
            _ = Strict.GetByteCount(text);
        }
        catch (EncoderFallbackException)
        {
            throw Failures.Invalid(field, "it is no UTF-8 text");
        }

        return text;
    }

    /// <summary>A number that the wire has without a sign.</summary>
    /// <exception cref="InvalidRequestException">It is negative.</exception>
    internal static uint Number(string field, int number) => number < 0 ? throw Negative(field, number) : (uint)number;

    private static InvalidRequestException Negative(string field, long number) =>
        Failures.Invalid(field, $"{number} is negative");
}
