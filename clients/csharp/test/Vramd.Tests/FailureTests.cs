using System;
using System.Collections.Generic;
using System.Linq;
using Grpc.Core;
using Xunit;

namespace Vramd.Tests;

public sealed class FailureTests
{
    public static TheoryData<string> Reasons => [.. PackedFailures.All.Select(one => one.Reason)];

    [Theory]
    [MemberData(nameof(Reasons))]
    public void Every_reason_arrives_as_its_class_with_its_properties(string reason)
    {
        var packed = PackedFailures.All.Single(one => one.Reason == reason);

        var error = Failures.From(Raised(packed.Code, Convert.FromBase64String(packed.Details)));

        Assert.Equal(packed.Class, error.GetType());
        Assert.Equal((reason, packed.Code, "in words"), (error.Reason, error.Code, error.Message));
        Assert.Equal(packed.RetryAfter, error.RetryAfter?.TotalSeconds);
        Assert.All(packed.Has, one => Assert.Equal(one.Value, packed.Class.GetProperty(one.Key)!.GetValue(error)));
    }

    [Theory]
    [InlineData("RESOURCE_EXHAUSTED", typeof(ExhaustedException))]
    [InlineData("NOT_FOUND", typeof(NotFoundException))]
    [InlineData("DATA_LOSS", typeof(VramdException))]
    public void A_reason_of_the_future_gives_the_class_of_its_code(string code, Type expected)
    {
        var error = ExceptionTable.Make("TOO_HOT", "in words", new Dictionary<string, string>(), null, code);

        Assert.Equal((expected, "TOO_HOT"), (error.GetType(), error.Reason));
    }

    [Fact]
    public void What_the_metadata_does_not_have_or_has_in_another_form_is_null()
    {
        var error = new MemoryExhaustedException(
            Vramd.Reasons.MemoryExhausted, "", new Dictionary<string, string> { ["neededBytes"] = "much" });

        Assert.Null(error.NeededBytes);
        Assert.Null(error.Device);
    }

    private static RpcException Raised(string code, byte[] details)
    {
        var status = Enum.Parse<StatusCode>(code.Replace("_", "", StringComparison.Ordinal), ignoreCase: true);
        return new(new Grpc.Core.Status(status, "in words"), new Metadata { { Failures.DetailsKey, details } });
    }
}
