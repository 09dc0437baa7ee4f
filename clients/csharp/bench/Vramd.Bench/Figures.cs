namespace Vramd.Bench;

/// <summary>What one arm took in one round.</summary>
/// <param name="CpuPerToken">CPU time of the client's process for each streamed token, in µs.</param>
/// <param name="BytesPerToken">What the client allocated for each streamed token; null: not known.</param>
/// <param name="Unary">The median time of a call with one answer, in µs.</param>
/// <param name="TokensPerMessage">Tokens that came in one message of the stream.</param>
internal sealed record Figures(double CpuPerToken, double? BytesPerToken, double Unary, double TokensPerMessage);
