"""The settings of a channel to a supervisor, the metadata of its calls, and its process. Shared by all clients."""

import os

import grpc
from vramd_common.rendezvous import TOKEN_KEY

from vramd.errors import WrongContext
from vramd.finding import Place, Tls

Metadata = tuple[tuple[str, str | bytes], ...]

OPTIONS: tuple[tuple[str, int], ...] = (
    # A supervisor that was restarted is found again within a second; gRPC's own limit is two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A long prompt is a quiet stream: a dead peer is noticed by pings, not by silence.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # 1024 embeddings of 8192 floats are 32 MiB.
    ("grpc.max_receive_message_length", 64 << 20),
    # Clients of one process share nothing: closing one does not slow another down.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy of the environment must not see what goes to this machine.
    ("grpc.enable_http_proxy", 0),
)


Options = tuple[tuple[str, int | str], ...]


def secured(tls: Tls) -> tuple[grpc.ChannelCredentials, Options]:
    """What a channel by TLS takes."""
    credentials = grpc.ssl_channel_credentials(tls.roots, tls.client_key, tls.client_cert)
    # A certificate of the LAN may not be for the loopback address, by which programs of the same machine call.
    return credentials, (*OPTIONS, ("grpc.ssl_target_name_override", tls.name)) if tls.name else OPTIONS


def metadata(place: Place) -> Metadata:
    """The metadata of every call: the token."""
    return ((TOKEN_KEY, f"Bearer {place.token}"),) if place.token else ()


def require_own(pid: int) -> None:
    """Raises WrongContext in a forked child of the process `pid`: gRPC's threads and sockets are not the child's."""
    if os.getpid() != pid:
        words = f"this client belongs to process {pid}, and this is a forked child of it: make a new client here"
        raise WrongContext("FORKED", words)
