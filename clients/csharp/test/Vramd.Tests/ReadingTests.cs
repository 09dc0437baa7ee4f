using System;
using System.Linq;
using System.Threading;
using Xunit;

namespace Vramd.Tests;

public sealed class ReadingTests
{
    [Fact]
    public void What_the_wire_does_not_set_is_null()
    {
        var model = Reading.Read(new V1.ResidentModel());
        var known = Reading.Read(new V1.Model());
        var receipt = Reading.Read(new V1.Receipt());

        Assert.Null(model.ProcessId);
        Assert.Null(model.MeasuredBytes);
        Assert.Null(model.ContextTokens);
        Assert.Null(model.Loaded);
        Assert.Null(model.Settings);
        Assert.Null(model.KeepAlive);
        Assert.Null(known.Path);
        Assert.Null(known.Parameters);
        Assert.Null(known.Resident);
        Assert.Null(receipt.ObservedBytes);
        Assert.Equal(("", TimeSpan.Zero), (receipt.Model, receipt.ExitTime));
    }

    [Fact]
    public void What_the_wire_sets_arrives_in_types_of_C_sharp()
    {
        var model = Reading.Read(new V1.ResidentModel
        {
            Model = "talker",
            WorkerId = 3,
            State = V1.ModelState.Ready,
            Pid = 4711,
            MeasuredBytes = 1UL << 40,
            LoadedS = 2.5,
            KeepAliveS = -1,
            Lowered = { V1.Lowered.KvType },
            Devices = { new V1.DeviceUse { Id = "gpu0", ReservedBytes = 7 } },
            Settings = new V1.Settings { ContextTokens = 4096, KvType = V1.KvType.Q80 },
        });

        Assert.Equal(("talker", 3L, ModelState.Ready, 4711), (model.Model, model.WorkerId, model.State, model.ProcessId));
        Assert.Equal(1L << 40, model.MeasuredBytes);
        Assert.Equal(TimeSpan.FromSeconds(2.5), model.Loaded);
        Assert.Equal(Timeout.InfiniteTimeSpan, model.KeepAlive);
        Assert.Equal([Lowered.KvType], model.Lowered);
        Assert.Equal(("gpu0", 7L), (model.Devices.Single().Id, model.Devices.Single().ReservedBytes));
        Assert.Equal((4096, KvType.Q80), (model.Settings!.ContextTokens, model.Settings.KvType));
    }

    [Fact]
    public void A_state_of_the_future_is_its_number()
    {
        Assert.Equal((ModelState)77, Reading.Read(new V1.Model { State = (V1.ModelState)77 }).State);
    }

    [Fact]
    public void The_nearest_settings_have_those_of_the_message_inside()
    {
        var nearest = Reading.Read(new V1.NearestSettings
        {
            Settings = new V1.Settings { ContextTokens = 1536 },
            NeededBytes = 5,
        });

        Assert.Equal((1536, 5L), (nearest.ContextTokens, nearest.NeededBytes));
        Assert.Equal(0, Reading.Read(new V1.NearestSettings()).ContextTokens);
    }

    [Fact]
    public void An_event_is_a_record_of_its_kind()
    {
        var released = Reading.Read(new V1.WatchEventsResponse
        {
            Sequence = 9,
            TimeS = 1.5,
            Kind = V1.EventKind.Release,
            Released = new V1.Receipt { Model = "reader", ExitS = 0.5 },
        });
        var unknown = Reading.Read(new V1.WatchEventsResponse { Kind = (V1.EventKind)99 });

        Assert.Equal(TimeSpan.FromSeconds(0.5), Assert.IsType<Released>(released).Receipt.ExitTime);
        Assert.Equal((9L, EventKind.Release), (released.Sequence, released.Kind));
        Assert.Equal(DateTimeOffset.UnixEpoch.AddSeconds(1.5), released.Time);
        Assert.Equal((EventKind)99, Assert.IsType<UnknownEvent>(unknown).Kind);
    }

    [Fact]
    public void Vectors_are_in_the_order_of_the_texts()
    {
        var embeddings = Reading.Read(new V1.EmbedResponse
        {
            Model = "reader",
            Dimensions = 1,
            Embeddings =
            {
                new V1.Embedding { Index = 1, Values = { 2f } },
                new V1.Embedding { Index = 0, Values = { 1f } },
            },
        });

        Assert.Equal([1f, 2f], embeddings.Vectors.Select(vector => vector.Span[0]));
    }

    [Fact]
    public void A_timeline_leaves_out_what_did_not_happen()
    {
        var timeline = Reading.ReadTimeline(
            """{"loaded_s":2.5,"decode_s":1e-06,"model":"talker","worker_id":3,"resumes":1,"resume":"exact"}""");

        Assert.Equal((TimeSpan.FromSeconds(2.5), TimeSpan.FromTicks(10)), (timeline!.Loaded, timeline.Decode));
        Assert.Null(timeline.Queued);
        Assert.Equal(("talker", 3L, 1, "exact"), (timeline.Model, timeline.WorkerId, timeline.Resumes, timeline.Resume));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("no JSON")]
    [InlineData("[]")]
    [InlineData("""{"model":"talker"}""")]
    public void A_timeline_in_other_words_is_none(string? json)
    {
        Assert.Null(Reading.ReadTimeline(json));
    }

    [Theory]
    [InlineData(double.NaN, 0)]
    [InlineData(double.PositiveInfinity, long.MaxValue)]
    [InlineData(1e300, long.MaxValue)]
    [InlineData(0.1, 1_000_000)]
    public void Every_number_of_seconds_is_a_duration(double seconds, long ticks)
    {
        Assert.Equal(ticks, Durations.FromSeconds(seconds).Ticks);
        _ = Durations.Moment(seconds);
    }
}
