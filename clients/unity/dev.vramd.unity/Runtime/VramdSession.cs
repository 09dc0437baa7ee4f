#nullable enable
using System;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;

namespace Vramd.Unity
{
    /// <summary>What is known of the supervisor.</summary>
    public enum VramdStatus
    {
        /// <summary>None was asked for.</summary>
        Stopped,

        /// <summary>It is looked for, or starts.</summary>
        Starting,

        /// <summary>It answers.</summary>
        Ready,

        /// <summary>It could not be found or started, or has ended.</summary>
        Failed,
    }

    /// <summary>One connection to the supervisor, which is found or started with the first call. For the main
    /// thread.</summary>
    public sealed class VramdSession : IDisposable
    {
        private static readonly TimeSpan s_reservationTime = TimeSpan.FromHours(24);

        private readonly VramdSettings _settings;
        private readonly CancellationTokenSource _closed = new CancellationTokenSource();
        private Task<VramdClient>? _client;
        private VramdSupervisor? _supervisor;

        /// <summary>Does nothing yet.</summary>
        public VramdSession(VramdSettings settings) => _settings = settings;

        /// <summary>Invoked on the main thread, when <see cref="Status"/> or <see cref="Message"/> has
        /// changed.</summary>
        public event Action? Changed;

        /// <summary>What is known of the supervisor.</summary>
        public VramdStatus Status { get; private set; }

        /// <summary>The same in words: where it listens, or why there is none.</summary>
        public string Message { get; private set; } = "";

        /// <summary>Cancelled when this session ends.</summary>
        public CancellationToken Closed => _closed.Token;

        /// <summary>The client, once the supervisor answers; it is found or started where need be.</summary>
        /// <exception cref="SupervisorNotFoundException">There is none, and none may be started.</exception>
        /// <exception cref="StartFailedException">It could not be started; the message has the end of its
        /// log.</exception>
        public async Task<VramdClient> ClientAsync(CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (_closed.IsCancellationRequested)
            {
                throw new ObjectDisposedException(nameof(VramdSession));
            }
            var client = _client ??= BeginAsync();
            if (cancellationToken.CanBeCanceled && !client.IsCompleted)
            {
                var cancelled = new TaskCompletionSource<bool>();
                using var registration = cancellationToken.Register(() => cancelled.TrySetResult(true));
                await Task.WhenAny(client, cancelled.Task);
                cancellationToken.ThrowIfCancellationRequested();
            }
            return await client;
        }

        /// <summary>Ends the supervisor, whoever started it, with all its models.</summary>
        public async Task StopAsync()
        {
            var client = await ClientAsync();
            await client.ShutdownAsync(force: true);
            Forget(VramdStatus.Stopped, "");
        }

        /// <summary>Ends every call of the client. A player's supervisor ends too; the editor's is there for its next
        /// session.</summary>
        public void Dispose()
        {
            if (_closed.IsCancellationRequested)
            {
                return;
            }
            _closed.Cancel();
            Forget(VramdStatus.Stopped, "");
        }

        /// <inheritdoc/>
        public override string ToString() => Message.Length > 0 ? $"{Status}: {Message}" : $"{Status}";

        private async Task<VramdClient> BeginAsync()
        {
            Tell(VramdStatus.Starting, _settings.RuntimeDirectory);
            VramdClient? client = null;
            try
            {
                if (!_settings.attachOnly)
                {
                    _supervisor = await VramdSupervisor.AttachOrStartAsync(_settings.Options(), _closed.Token);
                }
                client = VramdClient.Connect(_settings.RuntimeDirectory, VramdSettings.ClientOptions());
                var status = await client.StatusAsync(cancellationToken: _closed.Token);
                await ReserveAsync(client);
                Tell(VramdStatus.Ready, $"{status.Supervisor.Address}, vramd {status.Supervisor.Version}");
                if (_supervisor?.Exited is Task<int> exited)
                {
                    _ = WatchAsync(_supervisor, exited);
                }
                return client;
            }
            catch (Exception error)
            {
                client?.Dispose();
                Forget(
                    _closed.IsCancellationRequested ? VramdStatus.Stopped : VramdStatus.Failed,
                    _closed.IsCancellationRequested ? "" : error.Message);
                throw;
            }
        }

        private async Task ReserveAsync(VramdClient client)
        {
            var label = Application.productName;
            foreach (var earlier in await client.ReservationsAsync(cancellationToken: _closed.Token))
            {
                // That of the editor's last session: the supervisor has outlived it.
                if (earlier.Label == label)
                {
                    await client.ReleaseAsync(earlier.Id, cancellationToken: _closed.Token);
                }
            }
            if (_settings.reservedMebibytes > 0)
            {
                await client.ReserveAsync(
                    (long)_settings.reservedMebibytes << 20, _settings.reservedDevice, s_reservationTime, label,
                    cancellationToken: _closed.Token);
            }
        }

        private async Task WatchAsync(VramdSupervisor supervisor, Task<int> exited)
        {
            var code = await exited;
            if (supervisor == _supervisor)
            {
                Forget(VramdStatus.Failed, $"the supervisor ended with exit code {code}");
            }
        }

        private void Forget(VramdStatus status, string message)
        {
            var (supervisor, client) = (_supervisor, _client);
            (_supervisor, _client) = (null, null);
            if (client != null && client.Status == TaskStatus.RanToCompletion)
            {
                client.Result.Dispose();
            }
            if (supervisor != null && !Application.isEditor)
            {
                // Not awaited: a player that quits does not wait, and its end is the supervisor's.
                _ = Task.Run(async () => await supervisor.DisposeAsync());
            }
            Tell(status, message);
        }

        private void Tell(VramdStatus status, string message)
        {
            (Status, Message) = (status, message);
            Changed?.Invoke();
        }
    }
}
