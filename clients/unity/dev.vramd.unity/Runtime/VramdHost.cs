#nullable enable
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;
using UnityEngine.Events;

namespace Vramd.Unity
{
    /// <summary>The connection of a game to its supervisor; lives through changes of scenes.</summary>
    /// <remarks>Components that name no host share <see cref="Current"/>.</remarks>
    [AddComponentMenu("vramd/Host")]
    [DisallowMultipleComponent]
    [DefaultExecutionOrder(-100)]
    public sealed class VramdHost : MonoBehaviour
    {
        private static readonly List<VramdHost> s_all = new List<VramdHost>();

        /// <summary>How the supervisor is found or started; none: the asset in Resources, else defaults.</summary>
        public VramdSettings? settings;

        /// <summary>Starts it with the scene, and not only with the first call.</summary>
        public bool startAtOnce = true;

        /// <summary>Invoked with what is known of the supervisor, in words, whenever that changes.</summary>
        public UnityEvent<string> onStatus = new UnityEvent<string>();

        private VramdSession? _session;

        /// <summary>The first host that there is, else a new one in a game object of its own.</summary>
        public static VramdHost Current
        {
            get
            {
                if (s_all.Count == 0)
                {
                    new GameObject("vramd").AddComponent<VramdHost>();
                }
                return s_all[0];
            }
        }

        /// <summary>What is known of the supervisor.</summary>
        public VramdStatus Status => _session?.Status ?? VramdStatus.Stopped;

        private VramdSession Session
        {
            get
            {
                if (_session == null || _session.Closed.IsCancellationRequested)
                {
                    _session = new VramdSession(settings != null ? settings : VramdSettings.Default());
                    _session.Changed += Tell;
                }
                return _session;
            }
        }

        /// <summary>The client, once the supervisor answers; it is found or started where need be. For calls that the
        /// components do not have.</summary>
        /// <exception cref="SupervisorNotFoundException">There is none, and none may be started.</exception>
        /// <exception cref="StartFailedException">It could not be started; the message has the end of its
        /// log.</exception>
        public Task<VramdClient> ClientAsync(CancellationToken cancellationToken = default) =>
            Session.ClientAsync(cancellationToken);

        /// <summary>Ends the supervisor, whoever started it, with all its models. The next call starts one.</summary>
        public Task StopAsync() => Session.StopAsync();

        /// <summary>Ends every call of every host: before the editor loads the code again, and with play
        /// mode.</summary>
        public static void CloseAll()
        {
            foreach (var host in s_all)
            {
                host.Close();
            }
        }

        // With "Enter Play Mode Options" the editor keeps statics from one play mode to the next.
        [RuntimeInitializeOnLoadMethod(RuntimeInitializeLoadType.SubsystemRegistration)]
        private static void Reset() => s_all.Clear();

        private void Awake()
        {
            s_all.Add(this);
            DontDestroyOnLoad(gameObject);
            Application.quitting += Close;
        }

        private async void Start()
        {
            if (!startAtOnce)
            {
                return;
            }
            var session = Session;
            try
            {
                await session.ClientAsync();
            }
            catch (Exception error) when (!session.Closed.IsCancellationRequested)
            {
                // The status has it too; each later call throws it to its caller.
                Debug.LogWarning("vramd: " + error.Message, this);
            }
            catch (Exception error) when (session.Closed.IsCancellationRequested)
            {
                Debug.Log("vramd: the start was given up: " + error.Message, this);
            }
        }

        private void OnDestroy()
        {
            Application.quitting -= Close;
            s_all.Remove(this);
            Close();
        }

        private void Close() => _session?.Dispose();

        private void Tell()
        {
            if (_session != null)
            {
                onStatus.Invoke(_session.ToString());
            }
        }
    }
}
