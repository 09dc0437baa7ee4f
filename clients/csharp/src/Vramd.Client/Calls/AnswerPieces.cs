using System;
using System.Collections.Generic;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>What can be done with the pieces of an answer.</summary>
public static class AnswerPieces
{
    /// <summary>Puts the pieces of an answer together; waits for its end.</summary>
    /// <param name="pieces">What <see cref="VramdClient.GenerateAsync"/> or ChatAsync give.</param>
    /// <param name="cancellationToken">Ends the answer.</param>
    /// <exception cref="VramdException">What reading the pieces throws.</exception>
    public static async Task<Answer> ToAnswerAsync(
        this IAsyncEnumerable<ChatDelta> pieces, CancellationToken cancellationToken = default)
    {
        var text = new StringBuilder();
        var tokenIds = new List<int>();
        Finish? finish = null;
        await foreach (var piece in (pieces ?? throw new ArgumentNullException(nameof(pieces)))
            .WithCancellation(cancellationToken).ConfigureAwait(false))
        {
            text.Append(piece.Text);
            tokenIds.AddRange(piece.TokenIds);
            finish = piece.Finish ?? finish;
        }

        return new Answer
        {
            Text = text.ToString(),
            TokenIds = tokenIds,
            Finish = finish ?? throw Failures.Unexplained("the answer"),
        };
    }
}
