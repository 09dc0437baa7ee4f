using System;
using System.Collections.Generic;
using System.Linq;

namespace Vramd;

/// <summary>
/// How the supervisor of a host is started: the section <c>Vramd:Supervisor</c> of the configuration. Its runtime
/// folder is <see cref="VramdOptions.RuntimeDirectory"/>.
/// </summary>
public sealed class VramdSupervisorOptions
{
    /// <summary>The section of the configuration that is bound to these options.</summary>
    public const string Section = VramdOptions.Section + ":Supervisor";

    /// <summary>
    /// Attach to the supervisor of the runtime folder if one runs there, see
    /// <see cref="VramdSupervisor.AttachOrStartAsync"/>. False always starts one.
    /// </summary>
    public bool Attach { get; set; }

    /// <inheritdoc cref="SupervisorOptions.Command"/>
    public IList<string> Command { get; set; } = new List<string>();

    /// <inheritdoc cref="SupervisorOptions.Models"/>
    public IList<string> Models { get; set; } = new List<string>();

    /// <inheritdoc cref="SupervisorOptions.ConfigFile"/>
    public string? ConfigFile { get; set; }

    /// <inheritdoc cref="SupervisorOptions.Budgets"/>
    public IDictionary<string, string> Budgets { get; set; } = new Dictionary<string, string>();

    /// <inheritdoc cref="SupervisorOptions.Host"/>
    public string? Host { get; set; }

    /// <inheritdoc cref="SupervisorOptions.Port"/>
    public int Port { get; set; }

    /// <inheritdoc cref="SupervisorOptions.StartTimeout"/>
    public TimeSpan StartTimeout { get; set; } = new SupervisorOptions().StartTimeout;

    /// <inheritdoc cref="SupervisorOptions.StopTimeout"/>
    public TimeSpan StopTimeout { get; set; } = new SupervisorOptions().StopTimeout;

    /// <summary>Variables that its environment has besides this program's; an empty one is removed.</summary>
    public IDictionary<string, string> Environment { get; set; } = new Dictionary<string, string>();

    internal SupervisorOptions With(VramdOptions client, Action<string> log) => new()
    {
        Command = Command.Count > 0 ? Command.ToArray() : null,
        Models = Models.ToArray(),
        ConfigFile = ConfigFile,
        Budgets = Budgets.ToDictionary(static one => one.Key, static one => one.Value),
        RuntimeDirectory = client.RuntimeDirectory,
        Host = Host,
        Port = Port,
        StartTimeout = StartTimeout,
        StopTimeout = StopTimeout,
        Environment = Environment.ToDictionary(
            static one => one.Key, static one => one.Value.Length > 0 ? one.Value : null),
        Log = log,
        Client = client.Client,
    };
}
