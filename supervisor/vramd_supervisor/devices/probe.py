"""The interface that measures a device, and a wrapper for drivers that may never answer."""

from collections.abc import Sequence
from typing import Protocol

from ..domain.device_view import DeviceLostError, Sample
from ..threads.serial_calls import NoAnswerError, SerialCalls

ANSWER_S = 2.0
"""Longest wait for a driver. It answers within milliseconds; at first, or from deep sleep, in up to a second."""


class Probe(Protocol):
    """Measures one device. The calls take well under 10 ms and may be made from any thread."""

    def sample(self) -> Sample:
        """Returns the device's total and the bytes that all programs use. Raises DeviceLostError."""

    def process_bytes(self, pid: int) -> int | None:
        """Returns the bytes that one process takes here; None where that cannot be known."""

    def spilled_bytes(self, pids: Sequence[int]) -> int:  # noqa: ARG002  most devices have nowhere to spill to
        """Returns the bytes of these processes that the device moved to host memory since each was first asked about.

        Ask only about processes that are ready: memory that a load puts on the host on purpose is no spill. The result
        is 0 where it cannot be known.
        """
        return 0


class BoundedProbe(Probe):
    """Asks another probe in a separate thread, with a time limit: a driver that hangs must not stop the others."""

    def __init__(self, name: str, probe: Probe, limit_s: float = ANSWER_S) -> None:
        self._probe = probe
        self._calls = SerialCalls(name, limit_s)

    def sample(self) -> Sample:
        """Returns the other probe's figures. Raises DeviceLostError if they are late."""
        try:
            return self._calls.ask(self._probe.sample)
        except NoAnswerError as error:
            raise DeviceLostError(str(error)) from None

    def process_bytes(self, pid: int) -> int | None:
        """Returns the other probe's figure; None if it is late."""
        try:
            return self._calls.ask(lambda: self._probe.process_bytes(pid))
        except NoAnswerError:
            return None

    def spilled_bytes(self, pids: Sequence[int]) -> int:
        """Returns the other probe's figure; 0 if it is late."""
        try:
            return self._calls.ask(lambda: self._probe.spilled_bytes(pids))
        except NoAnswerError:
            return 0
