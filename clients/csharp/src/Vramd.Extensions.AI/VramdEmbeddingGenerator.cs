using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;

namespace Vramd;

/// <summary>A model as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/>. It owns nothing.</summary>
internal sealed class VramdEmbeddingGenerator : IEmbeddingGenerator<string, Embedding<float>>
{
    /// <summary>The most texts that vramd takes in one call.</summary>
    internal const int MostTexts = 1024;

    private readonly VramdClient _client;
    private readonly string _model;
    private readonly AskSettings _defaults;

    internal VramdEmbeddingGenerator(VramdClient client, string model, AskSettings? defaults)
    {
        _client = client;
        _model = model;
        _defaults = defaults ?? new AskSettings();
    }

    public void Dispose()
    {
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        Provider.Service(this, _client, serviceType, serviceKey)
        ?? (serviceKey is null && serviceType == typeof(EmbeddingGeneratorMetadata)
            ? new EmbeddingGeneratorMetadata(Provider.Name, Provider.Uri(_client), _model)
            : null);

    public async Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values,
        EmbeddingGenerationOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        Provider.NotNull(values, nameof(values));
        var texts = values.ToArray();
        var settings = Requests.Settings(_defaults, this, options);
        var model = options?.ModelId ?? _model;
        var usage = new UsageDetails();
        var all = new GeneratedEmbeddings<Embedding<float>>(texts.Length) { Usage = usage };
        for (var start = 0; start < texts.Length; start += MostTexts)
        {
            var part = new ArraySegment<string>(texts, start, Math.Min(MostTexts, texts.Length - start));
            var answer = await _client.EmbedAsync(model, part, settings, cancellationToken).ConfigureAwait(false);
            usage.Add(Updates.Details(answer.Usage));
            all.AddRange(answer.Vectors.Select(vector => new Embedding<float>(vector)
            {
                CreatedAt = DateTimeOffset.UtcNow,
                ModelId = answer.Model,
            }));
        }

        return all;
    }
}
