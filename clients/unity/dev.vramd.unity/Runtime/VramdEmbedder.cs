#nullable enable
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;

namespace Vramd.Unity
{
    /// <summary>Turns texts into vectors, by which texts of similar meaning are found.</summary>
    [AddComponentMenu("vramd/Embedder")]
    public sealed class VramdEmbedder : VramdComponent
    {
        /// <summary>The vector of a text.</summary>
        /// <exception cref="VramdException">The model has none to give; the message says why.</exception>
        public async Task<float[]> EmbedAsync(string text, CancellationToken cancellationToken = default) =>
            (await EmbedAsync(new[] { text }, cancellationToken))[0];

        /// <summary>The vectors of texts, in their order.</summary>
        /// <exception cref="VramdException">The model has none to give; the message says why.</exception>
        public async Task<float[][]> EmbedAsync(
            IReadOnlyList<string> texts, CancellationToken cancellationToken = default)
        {
            using var current = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Enabled);
            var client = await ClientAsync(current.Token);
            var embeddings = await client.EmbedAsync(model, texts, cancellationToken: current.Token);
            var vectors = new float[embeddings.Vectors.Count][];
            for (var index = 0; index < vectors.Length; index++)
            {
                vectors[index] = embeddings.Vectors[index].ToArray();
            }
            return vectors;
        }

        /// <summary>The cosine of the angle between two vectors: 1 for the same direction, 0 for nothing in
        /// common.</summary>
        /// <exception cref="ArgumentException">They are of different length.</exception>
        public static float Similarity(IReadOnlyList<float> one, IReadOnlyList<float> other)
        {
            if (one.Count != other.Count)
            {
                throw new ArgumentException(
                    $"vectors of {one.Count} and {other.Count} numbers are of different models", nameof(other));
            }
            double product = 0, first = 0, second = 0;
            for (var index = 0; index < one.Count; index++)
            {
                product += one[index] * other[index];
                first += one[index] * one[index];
                second += other[index] * other[index];
            }
            return first > 0 && second > 0 ? (float)(product / Math.Sqrt(first * second)) : 0;
        }
    }
}
