using System;
using System.Threading;
using Xunit;

namespace Vramd.Tests;

public sealed class SettingsTests
{
    [Fact]
    public void Settings_that_say_nothing_send_nothing()
    {
        var request = new V1.ChatRequest();
        new AnswerSettings().Fill(request);

        Assert.Equal(new V1.ChatRequest(), request);
    }

    [Fact]
    public void A_zero_is_sent()
    {
        var request = new V1.ChatRequest();
        new AnswerSettings { Temperature = 0, TopK = 0, GpuLayers = 0, KeepAlive = TimeSpan.Zero }.Fill(request);

        Assert.True(request.Sampling.HasTemperature && request.Sampling.HasTopK);
        Assert.True(request.Load.HasGpuLayers && request.Load.HasKeepAliveS);
    }

    [Fact]
    public void Words_and_numbers_go_to_the_same_setting()
    {
        var all = new LoadSettings { GpuLayers = GpuLayers.All, Outputs = Outputs.All }.Load();
        var some = new LoadSettings { GpuLayers = 20, Outputs = 8 }.Load();

        Assert.Equal((-1, V1.OutputRule.All), (all!.GpuLayers, all.OutputRule));
        Assert.Equal((20, 8u), (some!.GpuLayers, some.OutputTokens));
        Assert.Equal("all auto 20", $"{GpuLayers.All} {Outputs.Auto} {(GpuLayers)20}");
    }

    [Fact]
    public void A_model_that_stays_is_minus_one_second()
    {
        Assert.Equal(-1, new LoadSettings { KeepAlive = Timeout.InfiniteTimeSpan }.Load()!.KeepAliveS);
        Assert.Equal(0.25, new LoadSettings { KeepAlive = TimeSpan.FromMilliseconds(250) }.Load()!.KeepAliveS);
    }

    [Fact]
    public void Settings_with_types_of_C_sharp_arrive_as_those_of_the_wire()
    {
        var request = new V1.GenerateRequest();
        var settings = new AnswerSettings
        {
            KvType = KvType.Q80,
            Priority = Priority.Batch,
            Seed = uint.MaxValue,
            Stop = new[] { "a", "b" },
            Waiting = new Progress<Waiting>(),
            ShowSpecial = true,
        };
        settings.Fill(request);

        Assert.Equal(V1.KvType.Q80, request.Load.KvType);
        Assert.Equal((V1.Priority.Batch, true), (request.Scheduling.Priority, request.Scheduling.Progress));
        Assert.Equal(uint.MaxValue, request.Sampling.Seed);
        Assert.Equal(["a", "b"], request.Limits.Stop);
        Assert.True(request.ShowSpecial);
        Assert.False(request.HasParseSpecial);
    }

    [Fact]
    public void What_the_wire_cannot_say_is_refused_by_name()
    {
        var negative = Assert.Throws<InvalidRequestException>(() => new LoadSettings { ContextTokens = -1 }.Load());
        var half = Assert.Throws<InvalidRequestException>(() => new LoadSettings { Device = "\ud800" }.Load());

        Assert.Equal("context", negative.Field);
        Assert.Equal("device", half.Field);
    }
}
