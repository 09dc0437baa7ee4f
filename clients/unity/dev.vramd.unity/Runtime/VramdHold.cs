#nullable enable
using System;
using UnityEngine;
using UnityEngine.Events;

namespace Vramd.Unity
{
    /// <summary>Keeps a model loaded while this component is enabled: it is not evicted for others, nor for being
    /// idle.</summary>
    [AddComponentMenu("vramd/Hold")]
    public sealed class VramdHold : VramdComponent
    {
        /// <summary>Invoked when the model is loaded and held.</summary>
        public UnityEvent onReady = new UnityEvent();

        /// <summary>Invoked with the reason, if the model cannot be held, or not any more.</summary>
        public UnityEvent<string> onEnded = new UnityEvent<string>();

        /// <summary>Whether the model is loaded and held.</summary>
        public bool Ready { get; private set; }

        /// <inheritdoc/>
        protected override async void OnEnable()
        {
            base.OnEnable();
            var enabled = Enabled;
            try
            {
                var client = await ClientAsync(enabled);
                await using var hold = client.Hold(model, Application.productName);
                using var released = enabled.Register(() => _ = hold.DisposeAsync().AsTask());
                await hold.ReadyAsync(enabled);
                Ready = true;
                onReady.Invoke();
                await hold.Completion;
            }
            catch (Exception) when (enabled.IsCancellationRequested)
            {
                // Disabled: the hold ends as it was asked to.
            }
            catch (Exception error)
            {
                onEnded.Invoke(error.Message);
            }
            finally
            {
                // Enabled again meanwhile: this is the next one's.
                if (enabled == Enabled)
                {
                    Ready = false;
                }
            }
        }

        /// <inheritdoc/>
        protected override void OnDisable()
        {
            base.OnDisable();
            Ready = false;
        }
    }
}
