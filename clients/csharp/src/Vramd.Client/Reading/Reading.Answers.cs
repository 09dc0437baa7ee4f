using System;
using System.IO;
using System.Linq;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;

namespace Vramd;

// Answers of models, which are written by hand in Values/.
internal static partial class Reading
{
    /// <summary>Key of the timeline among the trailing metadata of an answered call.</summary>
    internal const string TimelineKey = "vramd-timeline";

    internal static ChatDelta Read(V1.ChatResponse message) =>
        Delta(message.Text, message.TokenIds, message.Finish);

    internal static ChatDelta Read(V1.GenerateResponse message) =>
        Delta(message.Text, message.TokenIds, message.Finish);

    /// <summary>Sorts the vectors in the order of the texts.</summary>
    internal static Embeddings Read(V1.EmbedResponse message) => new()
    {
        Model = message.Model,
        Dimensions = (int)message.Dimensions,
        Vectors = message.Embeddings
            .OrderBy(one => one.Index)
            .Select(one => (ReadOnlyMemory<float>)one.Values.ToArray())
            .ToArray(),
        Usage = Read(message.Usage ?? new()),
    };

    /// <summary>Reads a model with its load, which the answer has beside it.</summary>
    internal static Model Read(V1.GetModelResponse message) =>
        Read(message.Model ?? new()) with { Resident = Maybe(message.Resident, Read) };

    /// <summary>Reads where the time of a call went; null if that is not said in words of this version.</summary>
    internal static Timeline? ReadTimeline(string? json)
    {
        MapField<string, Value> told;
        try
        {
            told = Struct.Parser.ParseJson(json ?? "").Fields;
        }
        catch (IOException)
        {
            return null;
        }

        if (!told.TryGetValue("model", out var model) || !told.TryGetValue("worker_id", out var workerId))
        {
            return null;
        }

        return new()
        {
            Queued = Phase(told, "queued_s"),
            Drained = Phase(told, "drained_s"),
            Spawned = Phase(told, "spawned_s"),
            Loaded = Phase(told, "loaded_s"),
            Prompt = Phase(told, "prompt_s"),
            Decode = Phase(told, "decode_s"),
            Model = model.StringValue,
            WorkerId = (long)workerId.NumberValue,
            Resumes = told.TryGetValue("resumes", out var resumes) ? (int)resumes.NumberValue : 0,
            Resume = told.TryGetValue("resume", out var resume) ? resume.StringValue : "",
            CachedPromptTokens = told.TryGetValue("cached_prompt_tokens", out var cached) ? (int)cached.NumberValue : 0,
        };
    }

    private static TimeSpan? Phase(MapField<string, Value> told, string name) =>
        told.TryGetValue(name, out var seconds) ? Durations.FromSeconds(seconds.NumberValue) : null;

    private static ChatDelta Delta(string text, RepeatedField<int> tokenIds, V1.Finish? finish) => new()
    {
        Text = text,
        TokenIds = tokenIds.ToArray(),
        Finish = Maybe(finish, Read),
    };
}
