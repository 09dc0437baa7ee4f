using System.Globalization;

namespace Vramd;

/// <summary>Layers on the GPU: a number, <see cref="All"/>, or <see cref="Auto"/> for as many as fit.</summary>
public readonly record struct GpuLayers
{
    private readonly int _number;

    private GpuLayers(int number) => _number = number;

    /// <summary>Every layer.</summary>
    public static GpuLayers All => new(-1);

    /// <summary>As many as fit, whatever the configuration says.</summary>
    public static GpuLayers Auto => new(-2);

    /// <summary>So many layers; 0 is none.</summary>
    public static implicit operator GpuLayers(int number) => new(number);

    /// <summary>"all", "auto" or the number.</summary>
    public override string ToString() =>
        this == All ? "all" : this == Auto ? "auto" : _number.ToString(CultureInfo.InvariantCulture);

    internal void Fill(V1.LoadOptions options) => options.GpuLayers = _number;
}
