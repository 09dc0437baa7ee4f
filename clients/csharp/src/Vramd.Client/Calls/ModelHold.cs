using System;
using System.Threading;
using System.Threading.Tasks;

namespace Vramd;

/// <summary>
/// A model that is kept warm until this is disposed of; at the latest until this process ends. It is loaded if need be,
/// and again if its process is lost; it is evicted neither for others nor for being idle.
/// </summary>
public class ModelHold : IAsyncDisposable
{
    private readonly object _changing = new();
    private readonly ReplyStream<V1.HoldModelResponse>? _steps;
    private readonly IProgress<Held>? _progress;
    private readonly TaskCompletionSource<bool> _completion = NewSource();
    private TaskCompletionSource<bool> _ready = NewSource();
    private ModelState _state;
    private bool _isEnded;

    internal ModelHold(string model, ReplyStream<V1.HoldModelResponse> steps, IProgress<Held>? progress)
    {
        Model = model;
        _steps = steps;
        _progress = progress;
        _ = FollowAsync(steps);
    }

    /// <summary>Makes a hold without a supervisor, for a class that overrides it.</summary>
    protected ModelHold()
    {
        Model = "";
    }

    /// <summary>Id of the model; "task:NAME" until the supervisor has said which one was chosen.</summary>
    public virtual string Model { get; private set; }

    /// <summary>
    /// The state of the model. Unspecified before the supervisor has said one, and when the hold is over, except that a
    /// model that was unloaded is <see cref="ModelState.Unloaded"/>.
    /// </summary>
    public virtual ModelState State
    {
        get
        {
            lock (_changing)
            {
                return _state;
            }
        }
    }

    /// <summary>Ends when this was disposed of, and fails when the supervisor ends the hold.</summary>
    /// <exception cref="UnloadedException">The model was unloaded.</exception>
    /// <exception cref="VramdException">
    /// The model cannot be loaded, as <see cref="VramdClient.LoadAsync"/> says, or not again.
    /// </exception>
    public virtual Task Completion => _completion.Task;

    /// <summary>Waits until the model is ready; returns at once if it is.</summary>
    /// <param name="cancellationToken">Ends the wait; the hold lasts.</param>
    /// <exception cref="CancelledException">This was disposed of.</exception>
    /// <exception cref="VramdException">What <see cref="Completion"/> fails with.</exception>
    public virtual async Task ReadyAsync(CancellationToken cancellationToken = default)
    {
        Task ready;
        lock (_changing)
        {
            ready = _ready.Task;
        }

        if (cancellationToken.CanBeCanceled && !ready.IsCompleted)
        {
            var cancelled = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            using (cancellationToken.Register(() => cancelled.TrySetCanceled(cancellationToken)))
            {
                ready = await Task.WhenAny(ready, cancelled.Task).ConfigureAwait(false);
            }
        }

        await ready.ConfigureAwait(false);
    }

    /// <summary>Ends the hold. Idempotent.</summary>
    public virtual async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        End(ModelState.Unspecified, new CancelledException(
            "CANCELLED", $"the hold on {Model} was ended from here", code: "CANCELLED"));
        if (_steps is not null)
        {
            await _steps.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task FollowAsync(ReplyStream<V1.HoldModelResponse> steps)
    {
        try
        {
            while (await steps.MoveNextAsync().ConfigureAwait(false))
            {
                Follow(Reading.Read(steps.Current));
            }

            throw Failures.Unexplained($"the hold on {Model}");
        }
        catch (OperationCanceledException)
        {
            _completion.TrySetResult(true);
        }
#pragma warning disable CA1031 // Whatever it is, the waiters get it.
        catch (Exception lost)
#pragma warning restore CA1031
        {
            End(lost is UnloadedException ? ModelState.Unloaded : ModelState.Unspecified, lost);
            Fail(_completion, lost);
        }
    }

    private void Follow(Held step)
    {
        lock (_changing)
        {
            if (_isEnded)
            {
                return;
            }

            _state = step.State;
            Model = step.Model.Length > 0 ? step.Model : Model;
            if (step.State == ModelState.Ready)
            {
                _ready.TrySetResult(true);
            }
            else if (_ready.Task.IsCompleted)
            {
                _ready = NewSource();
            }
        }

        _progress?.Report(step);
    }

    private void End(ModelState state, Exception reason)
    {
        lock (_changing)
        {
            if (_isEnded)
            {
                return;
            }

            _isEnded = true;
            _state = state;
            _ready = _ready.Task.IsCompleted ? NewSource() : _ready;
            Fail(_ready, reason);
        }
    }

    private static void Fail(TaskCompletionSource<bool> source, Exception reason)
    {
        source.TrySetException(reason);
        _ = source.Task.Exception; // not every holder waits for it
    }

    private static TaskCompletionSource<bool> NewSource() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
