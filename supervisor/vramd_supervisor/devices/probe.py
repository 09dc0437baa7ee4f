"""What a device is asked, and how one is asked whose driver may never answer."""

from collections.abc import Sequence
from typing import Protocol

from ..domain.device_view import DeviceLostError, Sample
from ..threads.lane import Lane, NoAnswerError

ANSWER_S = 2.0
"""Drivers answer within milliseconds; the first time, or out of deep sleep, they may take most of a second."""


class Probe(Protocol):
    """Measures one device. The calls take well under 10 ms and may be made from any thread."""

    def sample(self) -> Sample:
        """What the device has and what is taken of it, by whomever. Raises DeviceLostError."""

    def process_bytes(self, pid: int) -> int | None:
        """Bytes that one process takes here; None where that cannot be known."""

    def spilled_bytes(self, pids: Sequence[int]) -> int:  # noqa: ARG002  most devices have nowhere to spill to
        """Bytes of these processes that the device has moved to host memory since each was first asked about.

        To be asked about processes that are ready: what a load puts into host memory on purpose is no spill. 0 where it
        cannot be known.
        """
        return 0


class BoundedProbe(Probe):
    """Asks another probe in a lane of its own, and gives up in time: a driver that hangs must not stop the others."""

    def __init__(self, name: str, probe: Probe, limit_s: float = ANSWER_S) -> None:
        """`name` is for messages."""
        self._probe = probe
        self._lane = Lane(name, limit_s)

    def sample(self) -> Sample:
        """As the other says. Raises DeviceLostError when it does not say in time."""
        try:
            return self._lane.ask(self._probe.sample)
        except NoAnswerError as error:
            raise DeviceLostError(str(error)) from None

    def process_bytes(self, pid: int) -> int | None:
        """As the other says; None when it does not say in time."""
        try:
            return self._lane.ask(lambda: self._probe.process_bytes(pid))
        except NoAnswerError:
            return None

    def spilled_bytes(self, pids: Sequence[int]) -> int:
        """As the other says; 0 when it does not say in time."""
        try:
            return self._lane.ask(lambda: self._probe.spilled_bytes(pids))
        except NoAnswerError:
            return 0
