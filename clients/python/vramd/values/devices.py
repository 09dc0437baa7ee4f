"""The supervisor, its devices, and the bytes that are reserved on them."""

from dataclasses import dataclass

from vramd.values.models import ResidentModel
from vramd.values.words import DeviceKind, Pressure


@dataclass(frozen=True)
class Device:
    """One device of the ledger.

    >>> [(device.id, device.kind, device.budget_bytes) for device in client.devices()]
    [('gpu0', 'nvidia', 7516192768)]
    """

    id: str
    kind: DeviceKind | str
    name: str
    total_bytes: int
    budget_bytes: int
    """The most that vramd may promise."""
    reserved_bytes: int
    external_bytes: int
    """Taken by programs that are not vramd's."""
    headroom_bytes: int
    free_bytes: int
    """The most that can be promised now."""
    temperature_c: int | None
    utilisation_percent: int | None
    uuid: str | None
    unusable: str | None
    """The reason that no model can be placed here, and the remedy; None if models can."""
    pressure: Pressure | str


@dataclass(frozen=True)
class SupervisorInfo:
    """The supervisor's process.

    >>> client.status().supervisor.address
    '127.0.0.1:50151'
    """

    pid: int
    version: str
    uptime_s: float
    rss_bytes: int
    address: str
    usable_cores: int
    """CPU threads that generating workers share while other programs take none."""
    api: int
    """Number of the contract that it speaks; it counts up with each change that breaks clients."""
    draining: bool
    """It admits nothing new."""
    running: int
    """Requests that run, on all models together."""
    queued: int
    """Requests that wait, for all models together."""
    loop_lag_s: float
    """The latest that its event loop has been within the last minute."""
    ending: bool
    """It ends: what runs may finish, and nothing new begins."""
    cores_left: int
    """Of `usable_cores`, those that other programs leave now."""
    foreign_cores: float
    """Cores' worth of time that other programs took in the last second."""


@dataclass(frozen=True)
class Drained:
    """What a drained supervisor still has to do.

    >>> client.drain()
    Drained(running=1, queued=0)
    """

    running: int
    """Requests that run, and end in their own time."""
    queued: int
    """Requests that were admitted before, and wait."""


@dataclass(frozen=True)
class Status:
    """The supervisor, its devices and the resident models, at one moment.

    >>> status = client.status()
    >>> [device.id for device in status.devices], [model.model for model in status.models]
    (['gpu0'], ['talker'])
    """

    supervisor: SupervisorInfo
    devices: tuple[Device, ...]
    models: tuple[ResidentModel, ...]


@dataclass(frozen=True)
class Reservation:
    """Bytes that vramd keeps free for another program.

    >>> client.reserve("1.5GiB", device="gpu0", label="game")
    Reservation(id=8, device='gpu0', size_bytes=1610612736, ttl_s=60.0, label='game', waited_s=0.25)
    """

    id: int
    device: str
    size_bytes: int
    ttl_s: float
    """Seconds that it stands, from the grant on."""
    label: str
    waited_s: float
    """Seconds that it took to free the memory."""


@dataclass(frozen=True)
class StandingReservation:
    """A reservation that stands now, made by any program.

    >>> client.reservations()
    (StandingReservation(id=8, device='gpu0', size_bytes=1610612736, taken_bytes=0, label='game', left_s=42.0),)
    """

    id: int
    device: str
    size_bytes: int
    taken_bytes: int
    """The part that other programs have taken since; reservations of one device may count the same bytes."""
    label: str
    left_s: float
    """Seconds until it ends by itself."""
