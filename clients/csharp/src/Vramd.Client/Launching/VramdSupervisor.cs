using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>
/// A supervisor that belongs to this program: started by it, ended with it, however that ends. Ctrl-C in the terminal
/// does not reach it, and neither does the collector of an object that is dropped. Safe for all threads.
/// </summary>
/// <remarks>
/// Linux is where this is tested. On Windows, where it was never run, a job object is a second lifeline; on macOS it was
/// never run either.
/// </remarks>
public sealed class VramdSupervisor : IAsyncDisposable
{
    private const int NewestApi = 1;
    private const int AlreadyRunning = 69;
    private static readonly TimeSpan WinnerTime = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(50);

    private readonly object _ending = new();
    private readonly SupervisorCalls _calls;
    private readonly Launched? _launched;
    private readonly SupervisorOptions _options;
    private readonly string? _temporary;
    private Task? _end;

    private VramdSupervisor(
        SupervisorCalls calls, string folder, int processId, SupervisorOptions options, Launched? launched,
        string? temporary)
    {
        _calls = calls;
        _launched = launched;
        _options = options;
        _temporary = temporary;
        RuntimeDirectory = folder;
        ProcessId = processId;
        Client = VramdClient.Connect(folder, options.Client);
    }

    /// <summary>Calls to it; closed with it.</summary>
    public VramdClient Client { get; }

    /// <summary>The folder where other programs of this user find it: <c>vramd ps --runtime-dir …</c>.</summary>
    public string RuntimeDirectory { get; }

    /// <summary>The id of its process.</summary>
    public int ProcessId { get; }

    /// <summary>host:port.</summary>
    public string Address => _calls.Place.Address;

    /// <summary>Whether this program has started it; one that it attached to is another program's.</summary>
    public bool Owned => _launched is not null;

    /// <summary>
    /// Completes when it has ended, with its exit code; null for one that this program did not start.
    /// </summary>
    public Task<int>? Exited => _launched?.Exited;

    /// <summary>Starts one, and waits until it answers.</summary>
    /// <param name="options">How; null takes the models and the configuration of the environment.</param>
    /// <param name="cancellationToken">Ends the wait and what was started.</param>
    /// <exception cref="StartFailedException">
    /// There is no such command, a folder is missing or cannot be made, or no supervisor answers in time. Exit code 2: the
    /// configuration is wrong; 69: another supervisor has the runtime folder; 1: it cannot listen.
    /// </exception>
    public static Task<VramdSupervisor> StartAsync(
        SupervisorOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new SupervisorOptions();
        var folder = options.RuntimeDirectory is { } given ? Path.GetFullPath(given) : null;
        return StartInAsync(folder, options, options.StartTimeout, cancellationToken);
    }

    /// <summary>
    /// Attaches to the supervisor of the runtime folder, or starts one: programs that do this at once get the same, which
    /// belongs to the one of them that started it, and ends with that.
    /// </summary>
    /// <param name="options">How it is started, if none is there.</param>
    /// <param name="cancellationToken">Ends the wait and what was started.</param>
    /// <exception cref="StartFailedException">As <see cref="StartAsync"/>.</exception>
    public static async Task<VramdSupervisor> AttachOrStartAsync(
        SupervisorOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new SupervisorOptions();
        var folder = Path.GetFullPath(options.RuntimeDirectory ?? RuntimeFolder.Default(Environment.GetEnvironmentVariable));
        var began = Stopwatch.StartNew();
        var running = await AttachAsync(folder, options, cancellationToken).ConfigureAwait(false);
        while (running is null)
        {
            var left = Left(options.StartTimeout, began.Elapsed);
            try
            {
                running = await StartInAsync(folder, options, left, cancellationToken).ConfigureAwait(false);
            }
            catch (StartFailedException error) when (error.ExitCode == AlreadyRunning && MayTryAgain(left))
            {
                // Another program was faster; or the one that has the folder ends, and the next try is the right one.
                var waited = Stopwatch.StartNew();
                while (running is null && waited.Elapsed < WinnerTime)
                {
                    await Task.Delay(LookEvery, cancellationToken).ConfigureAwait(false);
                    running = await AttachAsync(folder, options, cancellationToken).ConfigureAwait(false);
                }
            }
        }

        return running;
    }

    /// <summary>
    /// Ends the supervisor with its workers, and waits until it is gone. Idempotent; a later call may hurry an earlier one.
    /// Requests of other programs may end first, unless <paramref name="force"/>. One that does not agree to end within
    /// seconds is killed, with its workers; one that has agreed, after <see cref="SupervisorOptions.StopTimeout"/>.
    /// One that is not <see cref="Owned"/> goes on running.
    /// </summary>
    /// <param name="force">Ends running requests at once.</param>
    /// <param name="cancellationToken">Kills it, with its workers.</param>
    public async Task StopAsync(bool force = false, CancellationToken cancellationToken = default)
    {
        if (_launched is null)
        {
            Close();
            return;
        }

        Task end;
        bool first;
        lock (_ending)
        {
            first = _end is null;
            end = _end ??= EndAsync(_launched, force);
        }

        using var kill = cancellationToken.Register(_launched.Kill);
        if (force && !first)
        {
            await AgreesAsync(_launched, force).ConfigureAwait(false);
        }

        await end.ConfigureAwait(false);
        _launched.ThrowOfLog();
    }

    /// <summary>Stops it without force; see <see cref="StopAsync"/>.</summary>
    public ValueTask DisposeAsync() => new(StopAsync());

    private static async Task<VramdSupervisor> StartInAsync(
        string? folder, SupervisorOptions options, TimeSpan limit, CancellationToken cancellationToken)
    {
        foreach (var models in options.Models)
        {
            if (!Directory.Exists(models) && !File.Exists(models))
            {
                throw Failed($"there is no folder of models {Path.GetFullPath(models)}");
            }
        }

        var windows = RuntimeInformation.IsOSPlatform(OSPlatform.Windows);
        var command = SupervisorCommand.Find(
            options.Command, Environment.GetEnvironmentVariable, AppContext.BaseDirectory, windows);
        var temporary = folder is null ? MakeFolder(null) : null;
        Launched? launched = null;
        SupervisorCalls? calls = null;
        try
        {
            var place = folder is null ? temporary! : MakeFolder(folder);
            // Off the caller's thread, which may be the one of a window: a fork takes its time.
            launched = await Task.Run(() => Launch(command, place, options), cancellationToken).ConfigureAwait(false);
            var ready = await launched.ReadyAsync(limit, cancellationToken).ConfigureAwait(false);
            Refuse(ready.Api);
            calls = new SupervisorCalls(place, options.Client);
            return new VramdSupervisor(calls, place, ready.ProcessId, options, launched, temporary);
        }
        catch
        {
            calls?.Dispose();
            if (launched is not null)
            {
                await launched.EndAsync(launched.Exited.IsCompleted ? TimeSpan.Zero : options.GraceTime).ConfigureAwait(false);
            }

            if (temporary is not null)
            {
                PrivateFolder.Delete(temporary);
            }

            throw;
        }
    }

    private static async Task<VramdSupervisor?> AttachAsync(
        string folder, SupervisorOptions options, CancellationToken cancellationToken)
    {
        SupervisorCalls? calls = null;
        try
        {
            calls = new SupervisorCalls(folder, options.Client);
            var info = await calls.InfoAsync(options.AskTime, cancellationToken).ConfigureAwait(false);
            if (!info.Ending)
            {
                Refuse((int)info.Api);
                var attached = new VramdSupervisor(calls, folder, (int)info.Pid, options, null, null);
                calls = null;
                return attached;
            }
        }
        catch (VramdException error) when (error is not (StartFailedException or InvalidRequestException))
        {
            // It was killed and left its files, or it ends: the one that is started knows better.
        }
        finally
        {
            calls?.Dispose();
        }

        return null;
    }

    /// <summary>A supervisor that is there and does not answer may take all the time, and more.</summary>
    private static TimeSpan Left(TimeSpan limit, TimeSpan passed) =>
        limit == Timeout.InfiniteTimeSpan ? limit : limit > passed ? limit - passed : TimeSpan.Zero;

    private static bool MayTryAgain(TimeSpan left) => left == Timeout.InfiniteTimeSpan || left > WinnerTime;

    private static Launched Launch(IReadOnlyList<string> command, string folder, SupervisorOptions options)
    {
        using var own = Process.GetCurrentProcess();
        var words = command.Concat(SupervisorCommand.Arguments(options, folder, own.Id)).ToArray();
        return Launched.Start(words, folder, options);
    }

    private static void Refuse(int api)
    {
        if (api > NewestApi)
        {
            throw Failed(
                $"the supervisor serves version {api} of the API, and this program knows versions up to {NewestApi}: "
                + "it needs a newer Vramd.Client");
        }
    }

    private static string MakeFolder(string? path)
    {
        try
        {
            if (path is null)
            {
                return PrivateFolder.MakeTemporary();
            }

            PrivateFolder.Make(path);
            return path;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw Failed($"the runtime folder cannot be made: {error.Message}");
        }
    }

    private static StartFailedException Failed(string text) => new("START_FAILED", text);

    private async Task EndAsync(Launched launched, bool force)
    {
        var ended = false;
        try
        {
            // Its stdin stays open meanwhile: without its owner it would cut off the requests of others.
            ended = await AgreesAsync(launched, force).ConfigureAwait(false)
                && await launched.EndsWithinAsync(_options.StopTimeout).ConfigureAwait(false);
        }
        finally
        {
            if (!ended)
            {
                await launched.EndAsync(_options.GraceTime).ConfigureAwait(false);
            }

            await launched.Forgotten.ConfigureAwait(false);
            Close();
            if (_temporary is not null)
            {
                PrivateFolder.Delete(_temporary);
            }
        }
    }

    private void Close()
    {
        _calls.Dispose();
        Client.Dispose();
    }

    private async Task<bool> AgreesAsync(Launched launched, bool force)
    {
        if (launched.Exited.IsCompleted)
        {
            return true;
        }

        try
        {
            await _calls.ShutdownAsync(force, _options.AskTime).ConfigureAwait(false);
            return true;
        }
        catch (Exception error) when (error is VramdException or PlatformNotSupportedException)
        {
            return false; // it does not answer, or this runtime has nothing to ask it with
        }
    }
}
