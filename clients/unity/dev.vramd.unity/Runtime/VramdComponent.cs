#nullable enable
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;

namespace Vramd.Unity
{
    /// <summary>A component that works with one model of a host, while it is enabled.</summary>
    public abstract class VramdComponent : MonoBehaviour
    {
        /// <summary>The host; none: <see cref="VramdHost.Current"/>.</summary>
        public VramdHost? host;

        /// <summary>The model's id.</summary>
        [VramdModel]
        public string model = "";

        private CancellationTokenSource? _enabled;

        /// <summary>Cancelled when this component is disabled, or goes.</summary>
        protected CancellationToken Enabled => _enabled?.Token ?? new CancellationToken(canceled: true);

        /// <summary>The client of the host, once the supervisor answers.</summary>
        protected Task<VramdClient> ClientAsync(CancellationToken cancellationToken) =>
            (host != null ? host : VramdHost.Current).ClientAsync(cancellationToken);

        /// <summary>Lets this component begin to work.</summary>
        protected virtual void OnEnable() => _enabled = new CancellationTokenSource();

        /// <summary>Ends what this component does.</summary>
        protected virtual void OnDisable() => _enabled?.Cancel();
    }
}
