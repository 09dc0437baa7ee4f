"""Bytes that vramd keeps free for another program, as a value."""

from dataclasses import dataclass


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
    """How long it took to make room."""


@dataclass(frozen=True)
class StandingReservation:
    """A reservation that stands at this moment, whoever made it.

    >>> client.reservations()
    (StandingReservation(id=8, device='gpu0', size_bytes=1610612736, taken_bytes=0, label='game', left_s=42.0),)
    """

    id: int
    device: str
    size_bytes: int
    taken_bytes: int
    """Of these, what other programs have taken since; reservations of one device may count the same bytes."""
    label: str
    left_s: float
    """Seconds until it ends by itself."""
