namespace Vramd;

/// <content>The sum of its kinds.</content>
public sealed partial record QuotedDevice
{
    /// <summary>Over all kinds.</summary>
    public long TotalBytes => WeightsBytes + ContextBytes + ComputeBytes + ProcessBytes;
}
