using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

// Models: which there are, which are loaded, and which serves a task.
public partial class VramdClient
{
    /// <summary>Every model that vramd knows, loaded or not, by id.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual Task<IReadOnlyList<Model>> ModelsAsync(CancellationToken cancellationToken = default) =>
        AskAsync<V1.ListModelsResponse, IReadOnlyList<Model>>(
            (link, options) => link.Models.ListModelsAsync(new(), options),
            static reply => reply.Models.Select(Reading.Read).ToArray(),
            cancellationToken);

    /// <summary>One model, with its residency if it has a process or waits for one.</summary>
    /// <param name="model">Id of the model.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">No model has this id.</exception>
    public virtual Task<Model> ModelAsync(string model, CancellationToken cancellationToken = default)
    {
        var request = new V1.GetModelRequest { Model = Requests.Model(model) };
        return AskAsync((link, options) => link.Models.GetModelAsync(request, options), Reading.Read, cancellationToken);
    }

    /// <summary>The models that have a process, or wait for one.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public virtual async Task<IReadOnlyList<ResidentModel>> ResidentAsync(CancellationToken cancellationToken = default) =>
        (await StatusAsync(cancellationToken).ConfigureAwait(false)).Models;

    /// <summary>Looks into the folders of models again.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="UnavailableException">A folder does not answer.</exception>
    public virtual Task<Rescan> RescanAsync(CancellationToken cancellationToken = default) =>
        AskAsync((link, options) => link.Models.RescanModelsAsync(new(), options), Reading.Read, cancellationToken);

    /// <summary>The best model for a task, and why. Loads nothing.</summary>
    /// <remarks>
    /// What a model is good for is configured (<c>tasks</c>), else guessed from its file. In a call, the model "task:code"
    /// is what this says of "code" at that moment. An unknown task is for the general models.
    /// </remarks>
    /// <param name="task">The task, for example "code".</param>
    /// <param name="role">The role of the caller, for example "architect" or "npc".</param>
    /// <param name="contextTokens">The context that is needed at least.</param>
    /// <param name="prefer">
    /// <see cref="Prefer.LightNow"/>: a loaded model that suits rather than a better one that would have to be loaded.
    /// </param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">No model serves.</exception>
    public virtual Task<Selection> SelectAsync(
        string task,
        string role = "",
        int contextTokens = 0,
        Prefer prefer = Prefer.Unspecified,
        CancellationToken cancellationToken = default)
    {
        var request = new V1.SelectModelRequest
        {
            Task = Requests.Text("task", task),
            Role = Requests.Text("role", role),
            ContextTokens = Requests.Number("context_tokens", contextTokens),
            Prefer = (V1.Prefer)prefer,
        };
        return AskAsync((link, options) => link.Models.SelectModelAsync(request, options), Reading.Read, cancellationToken);
    }

    /// <summary>Says what a load would get, whether it fits, and what it would evict. Changes nothing.</summary>
    /// <remarks>
    /// The need may have to be found out first, which can take seconds for a large file. What was true of the devices when
    /// it was asked may have changed when the load comes.
    /// </remarks>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="settings">How it would be loaded; null: as the configuration says.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">
    /// No model has this id, or its file is gone (<see cref="FileMissingException"/>).
    /// </exception>
    /// <exception cref="FileUnusableException">The file is damaged, or no regular file.</exception>
    /// <exception cref="UnsupportedException">The installed llama.cpp cannot run the model.</exception>
    /// <exception cref="EngineMissingException">The model's engine is not installed.</exception>
    /// <exception cref="DeviceUnusableException">The device is unknown, or cannot hold the model.</exception>
    /// <exception cref="UnavailableException">The file does not answer.</exception>
    public virtual Task<Plan> PlanAsync(
        string model, LoadSettings? settings = null, CancellationToken cancellationToken = default)
    {
        var request = new V1.PlanLoadRequest { Model = Requests.Model(model), Load = settings?.Load() };
        return AskAsync((link, options) => link.Models.PlanLoadAsync(request, options), Reading.Read, cancellationToken);
    }

    /// <summary>Loads a model, and returns when it is ready. A model that is loaded so already stays as it is.</summary>
    /// <remarks>
    /// Other models are evicted if need be: those that are idle, least recently used first. Cancelling ends the wait; the
    /// load goes on where others wait for it too.
    /// </remarks>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="settings">How it is loaded; null: as the configuration says.</param>
    /// <param name="reload">Replace a process that has other settings.</param>
    /// <param name="progress">Hears of each step; the last one is <see cref="ModelState.Ready"/>.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">
    /// No model has this id, or its file is gone (<see cref="FileMissingException"/>).
    /// </exception>
    /// <exception cref="LoadedDifferentlyException">
    /// It is loaded with other settings than these; <paramref name="reload"/> replaces it.
    /// </exception>
    /// <exception cref="TooLargeException">It needs more than the device may ever give.</exception>
    /// <exception cref="MemoryExhaustedException">It needs more than is free or can be made free now.</exception>
    /// <exception cref="QueueFullException">Too many requests wait.</exception>
    /// <exception cref="FileUnusableException">The file is damaged, or no regular file.</exception>
    /// <exception cref="UnsupportedException">The installed llama.cpp cannot run the model.</exception>
    /// <exception cref="EngineMissingException">The model's engine is not installed.</exception>
    /// <exception cref="DeviceUnusableException">The device is unknown, or cannot hold the model.</exception>
    /// <exception cref="LoadTimedOutException">
    /// The load took longer than the supervisor allows, and was ended.
    /// </exception>
    /// <exception cref="QuarantinedException">Its processes died too often of late.</exception>
    /// <exception cref="WorkerCrashedException">The process ended while it loaded.</exception>
    /// <exception cref="UnloadedException">The model was unloaded meanwhile.</exception>
    /// <exception cref="UnavailableException">The file does not answer.</exception>
    public virtual async Task<ResidentModel> LoadAsync(
        string model,
        LoadSettings? settings = null,
        bool reload = false,
        IProgress<LoadProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        var request = new V1.LoadModelRequest
        {
            Model = Requests.Model(model),
            Load = settings?.Load(),
            Reload = reload,
        };
        V1.ResidentModel? resident = null;
        var steps = Wire.Stream(
            (link, options) => link.Models.LoadModel(request, options), _options.Timeout, token: cancellationToken);
        await using (steps.ConfigureAwait(false))
        {
            while (await steps.MoveNextAsync(cancellationToken).ConfigureAwait(false))
            {
                progress?.Report(Reading.Read(steps.Current));
                resident = steps.Current.Resident;
            }
        }

        return Reading.Read(resident ?? throw Failures.Unexplained("the load"));
    }

    /// <summary>
    /// Keeps a model warm as long as the hold lives: loaded, and not evicted. Does not wait: <see cref="ModelHold.ReadyAsync"/>
    /// does.
    /// </summary>
    /// <remarks>
    /// It is loaded if need be, and again if its process is lost. Several holds may be on the same model; what is held cannot
    /// make room for other models, so these may be refused with <see cref="MemoryExhaustedException"/>.
    /// </remarks>
    /// <param name="model">Id of the model, or "task:NAME" for the one that suits a task.</param>
    /// <param name="label">Names the holder, in messages and listings.</param>
    /// <param name="settings">How it is loaded; null: as the configuration says.</param>
    /// <param name="progress">Hears of each change of the model, on the thread pool.</param>
    public virtual ModelHold Hold(
        string model, string label = "", LoadSettings? settings = null, IProgress<Held>? progress = null)
    {
        var request = new V1.HoldModelRequest
        {
            Model = Requests.Model(model),
            Label = Requests.Text("label", label),
            Load = settings?.Load(),
        };
        var steps = Wire.Stream((link, options) => link.Supervisor.HoldModel(request, options), timeout: null);
        return new ModelHold(model, steps, progress);
    }

    /// <summary>Ends a model's process; returns when it is gone and its memory is back.</summary>
    /// <param name="model">Id of the model.</param>
    /// <param name="force">Do not let running requests end first.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">No model has this id.</exception>
    /// <exception cref="NotLoadedException">It has no process.</exception>
    public virtual Task<Receipt> UnloadAsync(
        string model, bool force = false, CancellationToken cancellationToken = default)
    {
        var request = new V1.UnloadModelRequest { Model = Requests.Model(model), Force = force };
        return AskAsync(
            (link, options) => link.Models.UnloadModelAsync(request, options),
            static reply => Reading.Read(reply.Receipt ?? new()),
            cancellationToken);
    }

    /// <summary>Gives a loaded model a new process with the same settings; returns when that is ready.</summary>
    /// <remarks>Requests that wait for the model keep their place.</remarks>
    /// <param name="model">Id of the model.</param>
    /// <param name="force">Do not let running requests end first.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotLoadedException">It has no process that could be replaced.</exception>
    /// <exception cref="VramdException">
    /// What <see cref="LoadAsync"/> throws, except <see cref="LoadedDifferentlyException"/>.
    /// </exception>
    public virtual Task<ResidentModel> RestartAsync(
        string model, bool force = false, CancellationToken cancellationToken = default)
    {
        var request = new V1.RestartModelRequest { Model = Requests.Model(model), Force = force };
        return AskAsync(
            (link, options) => link.Models.RestartModelAsync(request, options),
            static reply => Reading.Read(reply.Resident ?? new()),
            cancellationToken);
    }

    /// <summary>Ends a model's quarantine: forgets the deaths of its processes, and that its file was refused.</summary>
    /// <param name="model">Id of the model.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">No model has this id.</exception>
    public virtual Task<Model> ResetAsync(string model, CancellationToken cancellationToken = default)
    {
        var request = new V1.ResetModelRequest { Model = Requests.Model(model) };
        return AskAsync(
            (link, options) => link.Models.ResetModelAsync(request, options),
            static reply => Reading.Read(reply.Model ?? new()),
            cancellationToken);
    }

    /// <summary>Changes how long a model stays, and how urgent it is, until the supervisor ends.</summary>
    /// <param name="model">Id of the model.</param>
    /// <param name="pinned">A pinned model is never evicted, and never idle for too long; null leaves it as it is.</param>
    /// <param name="keepAlive">
    /// The time that it stays after its last use: zero leaves at once, <see cref="Timeout.InfiniteTimeSpan"/> stays; null
    /// leaves it as it is.
    /// </param>
    /// <param name="priority">That of calls which do not give one; null leaves it as it is.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="NotFoundException">No model has this id.</exception>
    public virtual Task<Model> UpdateAsync(
        string model,
        bool? pinned = null,
        TimeSpan? keepAlive = null,
        Priority? priority = null,
        CancellationToken cancellationToken = default)
    {
        var request = new V1.UpdateModelRequest
        {
            Model = Requests.Model(model),
            Priority = (V1.Priority)(priority ?? Priority.Unspecified),
        };
        if (pinned is { } stays)
        {
            request.Pinned = stays;
        }

        if (keepAlive is { } time)
        {
            request.KeepAliveS = Durations.KeepAliveSeconds(time);
        }

        return AskAsync(
            (link, options) => link.Models.UpdateModelAsync(request, options),
            static reply => Reading.Read(reply.Model ?? new()),
            cancellationToken);
    }
}
