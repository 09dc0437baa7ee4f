using System;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace Vramd;

/// <summary>The one line on stdout by which a supervisor answers the program that started it.</summary>
internal abstract record HandshakeLine
{
    private const string ReadyWord = "VRAMD_READY ";
    private const string FailedWord = "VRAMD_ERROR ";

    private HandshakeLine()
    {
    }

    /// <summary>Reads the line; null for any other, such as what a wrapper says before it.</summary>
    internal static HandshakeLine? Parse(string line)
    {
        try
        {
            if (line.StartsWith(ReadyWord, StringComparison.Ordinal))
            {
                var said = Struct.Parser.ParseJson(line[ReadyWord.Length..]).Fields;
                return new Ready(
                    said["address"].StringValue, (int)said["pid"].NumberValue, said["runtime_dir"].StringValue,
                    (int)said["api"].NumberValue);
            }

            if (line.StartsWith(FailedWord, StringComparison.Ordinal))
            {
                var said = Struct.Parser.ParseJson(line[FailedWord.Length..]).Fields;
                return new Failed((int)said["code"].NumberValue, said["message"].StringValue);
            }
        }
        catch (Exception error) when (error is InvalidJsonException or InvalidProtocolBufferException
            or System.Collections.Generic.KeyNotFoundException)
        {
            return null;
        }

        return null;
    }

    /// <summary>It listens; its runtime folder has the token.</summary>
    internal sealed record Ready(string Address, int ProcessId, string RuntimeDirectory, int Api) : HandshakeLine;

    /// <summary>It could not start, and ends with the exit code <paramref name="Code"/>.</summary>
    internal sealed record Failed(int Code, string Message) : HandshakeLine;
}
