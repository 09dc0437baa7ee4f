"""Refusals: answers of vramd in place of a result. Pure values; `status` turns them into gRPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vramd_common.reasons import Reason


class Violation(NamedTuple):
    """A field of a request that is wrong, and how."""

    field: str
    """Its path in the message: `sampling.temperature`."""
    problem: str


@dataclass(frozen=True)
class Refusal:
    """A refusal: a reason of the table, a message with numbers and remedy, and the metadata that the table requires."""

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry: bool = True
    """Whether to tell the caller that a retry may succeed, if the table says so for the reason."""
    violations: Sequence[Violation] = ()
    """Every field that is wrong, for FIELD_INVALID."""


class RefusedError(Exception):
    """Carries a refusal through waiting code up to a service, which answers with its status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal(reason: Reason, message: str, **metadata: object) -> Refusal:
    """Builds a refusal and checks its metadata against the table: a missing key is a bug and raises ValueError."""
    if missing := set(reason.value.metadata) - set(metadata):
        raise ValueError(f"{reason.name} lacks {sorted(missing)}")
    return Refusal(reason, message, {key: str(value) for key, value in metadata.items()})


def shutting_down() -> Refusal:
    """Returns the refusal for calls that end because the supervisor shuts down."""
    return refusal(Reason.SHUTTING_DOWN, "the supervisor ends; start it again to go on")


def draining() -> Refusal:
    """Returns the refusal for calls that a drained supervisor does not admit."""
    text = "the supervisor is drained: it finishes what it has, and admits nothing new until `vramd undrain`"
    return refusal(Reason.DRAINING, text)


def cannot_go_on(lost: Refusal, why: Refusal) -> Refusal:
    """Returns the refusal for an answer that was interrupted, with the reason for which it could not go on."""
    return replace(lost, message=f"{lost.message}; the answer cannot go on: {why.message}", retry=False)


def in_words(size_bytes: int) -> str:
    """Formats bytes for people: 1.50 GiB, 45.3 MiB."""
    if size_bytes >= 1 << 30:
        return f"{size_bytes / (1 << 30):.2f} GiB"
    return f"{size_bytes / (1 << 20):.1f} MiB"
