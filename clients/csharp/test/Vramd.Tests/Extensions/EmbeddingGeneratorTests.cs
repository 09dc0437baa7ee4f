using System;
using System.Globalization;
using System.Linq;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;
using Xunit;

namespace Vramd.Tests.Extensions;

/// <summary>What becomes of a request to an IEmbeddingGenerator, and of the vectors.</summary>
public sealed class EmbeddingGeneratorTests
{
    [Fact]
    public async Task Many_texts_are_several_calls_and_their_vectors_one_list_in_order()
    {
        var client = new RecordedClient();
        var numbers = Enumerable.Range(0, 2049).ToArray();
        var texts = numbers.Select(static number => number.ToString(CultureInfo.InvariantCulture));
        var all = await client.AsIEmbeddingGenerator("reader").GenerateAsync(texts);
        Assert.Equal([1024, 1024, 1], client.Batches);
        Assert.Equal(numbers, all.Select(static one => (int)one.Vector.Span[0]));
        Assert.Equal(2049, all.Usage!.InputTokenCount);
        Assert.Equal("reader", all[0].ModelId);
    }

    [Fact]
    public async Task No_texts_are_no_call()
    {
        var client = new RecordedClient();
        Assert.Empty(await client.AsIEmbeddingGenerator("reader").GenerateAsync([]));
        Assert.Empty(client.Batches);
    }

    [Fact]
    public async Task Options_arrive_over_the_defaults()
    {
        var client = new RecordedClient();
        var generator = client.AsIEmbeddingGenerator("reader", new() { Device = "gpu0", Priority = Priority.Normal });
        await generator.GenerateAsync(
            ["1"], new() { ModelId = "other", AdditionalProperties = new() { ["priority"] = "batch" } });
        Assert.Equal("other", client.Model);
        Assert.Equal(new AskSettings { Device = "gpu0", Priority = Priority.Batch }, client.Settings);
    }

    [Fact]
    public async Task A_number_of_dimensions_and_settings_of_an_answer_are_refused_by_name()
    {
        var generator = new RecordedClient().AsIEmbeddingGenerator("reader");
        var size = await Assert.ThrowsAsync<NotSupportedException>(
            () => generator.GenerateAsync(["1"], new() { Dimensions = 8 }));
        Assert.Contains("Dimensions", size.Message);
        var setting = await Assert.ThrowsAsync<NotSupportedException>(
            () => generator.GenerateAsync(["1"], new() { AdditionalProperties = new() { ["min_p"] = 0.5 } }));
        Assert.Contains("min_p", setting.Message);
    }

    [Fact]
    public void It_gives_its_client_and_its_metadata()
    {
        var client = new RecordedClient();
        var generator = client.AsIEmbeddingGenerator("reader");
        Assert.Same(client, generator.GetService(typeof(VramdClient)));
        Assert.Same(generator, generator.GetService(typeof(IEmbeddingGenerator<string, Embedding<float>>)));
        var metadata = generator.GetService<EmbeddingGeneratorMetadata>()!;
        Assert.Equal(("vramd", "reader"), (metadata.ProviderName, metadata.DefaultModelId));
    }
}
