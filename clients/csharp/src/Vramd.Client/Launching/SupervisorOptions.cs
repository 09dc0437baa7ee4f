using System;
using System.Collections.Generic;

namespace Vramd;

/// <summary>How a supervisor is started. Relative paths are those of this program's current folder.</summary>
public sealed record SupervisorOptions
{
    /// <summary>
    /// The command that is called: a program, and arguments that come before <c>serve</c>. Null takes what
    /// <c>VRAMD_COMMAND</c> names (words, which double quotes may hold together), else the <c>vramd</c> beside this
    /// program, else the one on <c>PATH</c>. Beside it is a program <c>vramd</c>, or a folder <c>vramd</c> with a Python
    /// that has vramd installed: <c>vramd/bin/python3</c>, on Windows <c>vramd\python.exe</c>.
    /// </summary>
    public IReadOnlyList<string>? Command { get; init; }

    /// <summary>Folders with GGUF files.</summary>
    public IReadOnlyList<string> Models { get; init; } = Array.Empty<string>();

    /// <summary>The configuration, a TOML file; null takes <c>VRAMD_CONFIG</c>, or none.</summary>
    public string? ConfigFile { get; init; }

    /// <summary>By device, the most memory that models may take: bytes, or a size like <c>6GiB</c>.</summary>
    public IReadOnlyDictionary<string, string>? Budgets { get; init; }

    /// <summary>
    /// The folder where programs of this user find it. Null: <see cref="VramdSupervisor.StartAsync"/> makes a temporary
    /// one, which is deleted with it, unless this program ends first;
    /// <see cref="VramdSupervisor.AttachOrStartAsync"/> takes the default one, as the command line does.
    /// </summary>
    public string? RuntimeDirectory { get; init; }

    /// <summary>The address that it listens on; null takes this machine's own, 127.0.0.1.</summary>
    public string? Host { get; init; }

    /// <summary>The port that it listens on; 0 picks a free one.</summary>
    public int Port { get; init; }

    /// <summary>The longest wait until it answers.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// The longest wait for one that has agreed to end; then it is killed. Requests of other programs may get
    /// <c>drain_s</c> (30 s), and each worker some more.
    /// </summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Ties it to this program.</summary>
    public Lifeline Lifeline { get; init; } = Lifeline.Stdin;

    /// <summary>Variables that its environment has besides this program's; null removes one.</summary>
    public IReadOnlyDictionary<string, string?>? Environment { get; init; }

    /// <summary>
    /// Receives what it prints, line by line, on a thread of the pool: its log until it listens, and fatal errors
    /// afterwards. The whole log is in <c>logs/supervisor.log</c> of its runtime folder. The supervisor never waits for
    /// it. If it throws, it gets nothing more, and <see cref="VramdSupervisor.StopAsync"/> throws that.
    /// </summary>
    public Action<string>? Log { get; init; }

    /// <summary>Starts the process; null takes <see cref="System.Diagnostics.Process"/>.</summary>
    public IProcessStarter? Starter { get; init; }

    /// <summary>How its client makes calls.</summary>
    public VramdClientOptions? Client { get; init; }

    /// <summary>The longest wait for its answer to a question of the launcher; a busy machine holds it up.</summary>
    internal TimeSpan AskTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// The longest wait for its end once its lifeline has ended; then it is killed. By itself it takes
    /// <c>owner_grace_s</c> (2 s), and as long as the end of each worker.
    /// </summary>
    internal TimeSpan GraceTime { get; init; } = TimeSpan.FromSeconds(10);
}
