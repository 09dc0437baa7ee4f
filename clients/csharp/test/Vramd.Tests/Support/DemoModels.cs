using System.IO;

namespace Vramd.Tests.Support;

/// <summary>The files of the models that ship with vramd.</summary>
public static class DemoModels
{
    /// <summary>Where they lie.</summary>
    public static string Folder { get; } = Path.Combine(
        Repository.Root, "clients", "python", "vramd_cli", "demo_models");

    /// <summary>For answers that are compared: the number of threads is part of how sums are rounded.</summary>
    public const string SameThreads = "[server]\nyield_cores = false\n";

    /// <summary>The one that talks.</summary>
    public static string Companion { get; } = Path.Combine(Folder, "companion.gguf");
}
