using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.Json;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;
using Xunit;

namespace Vramd.Tests.Extensions;

/// <summary>Settings that a request names as additional properties.</summary>
public sealed class NamedSettingsTests
{
    public static TheoryData<string, object?, AnswerSettings> Named => new()
    {
        { "min_p", 0.25, new() { MinP = 0.25f } },
        { "min_p", "0.25", new() { MinP = 0.25f } },
        { "repeat_penalty", 1, new() { RepeatPenalty = 1 } },
        { "context", 4096L, new() { ContextTokens = 4096 } },
        { "context", Json("4096"), new() { ContextTokens = 4096 } },
        { "seed", uint.MaxValue, new() { Seed = uint.MaxValue } },
        { "gpu_only", true, new() { GpuOnly = true } },
        { "gpu_only", Json("true"), new() { GpuOnly = true } },
        { "device", Json("\"gpu0\""), new() { Device = "gpu0" } },
        { "kv_type", "q8_0", new() { KvType = KvType.Q80 } },
        { "kv_type", KvType.Iq4Nl, new() { KvType = KvType.Iq4Nl } },
        { "prefer", "light_now", new() { Prefer = Prefer.LightNow } },
        { "keep_alive_s", -1, new() { KeepAlive = Timeout.InfiniteTimeSpan } },
        { "keep_alive_s", TimeSpan.FromMinutes(1), new() { KeepAlive = TimeSpan.FromMinutes(1) } },
        { "timeout_s", 1.5, new() { Timeout = TimeSpan.FromSeconds(1.5) } },
        { "gpu_layers", "all", new() { GpuLayers = GpuLayers.All } },
        { "gpu_layers", 12, new() { GpuLayers = 12 } },
        { "outputs", Json("\"auto\""), new() { Outputs = Outputs.Auto } },
        { "temperature", null, new() },
        { "temperature", Json("null"), new() },
    };

    public static TheoryData<string, object> Wrong => new()
    {
        { "min_p", "much" },
        { "context", 1.5 },
        { "context", long.MaxValue },
        { "device", 1 },
        { "kv_type", "q9" },
        { "kv_type", "4" },
        { "stop", 1 },
        { "gpu_layers", "most" },
    };

    [Theory]
    [MemberData(nameof(Named), DisableDiscoveryEnumeration = true)]
    public async Task A_setting_is_taken_by_its_name(string name, object? value, AnswerSettings expected) =>
        Assert.Equal(expected, await Taken(name, value));

    [Fact]
    public async Task Stops_are_one_text_or_several()
    {
        Assert.Equal(["a"], (await Taken("stop", "a")).Stop);
        Assert.Equal(["a", "b"], (await Taken("stop", new List<string> { "a", "b" })).Stop);
        Assert.Equal(["a", "b"], (await Taken("stop", Json("""["a", "b"]"""))).Stop);
    }

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public async Task A_value_that_is_none_of_the_settings_is_refused_by_its_name(string name, object value) =>
        Assert.Equal(name, (await Assert.ThrowsAsync<InvalidRequestException>(() => Taken(name, value))).Field);

    private static async Task<AnswerSettings> Taken(string name, object? value)
    {
        var client = new RecordedClient();
        await client.AsIChatClient("talker").GetResponseAsync(
            "Hi", new ChatOptions { AdditionalProperties = new() { [name] = value } });
        return Assert.IsType<AnswerSettings>(client.Settings);
    }

    private static JsonElement Json(string text) => JsonDocument.Parse(text).RootElement;
}
