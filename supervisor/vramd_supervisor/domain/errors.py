"""What vramd answers instead of a result. Pure values; `status` turns them into gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vramd_common.reasons import Reason


@dataclass(frozen=True)
class Refusal:
    """A reason of the table, a message with the numbers and what to do, and the metadata that the table names."""

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry: bool = True
    """Whether the caller hears that the same call may succeed later, if the table says so of the reason."""


class RefusedError(Exception):
    """Carries a refusal through code that waits. Raised to services, which answer with its status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal(reason: Reason, message: str, **metadata: object) -> Refusal:
    """A refusal whose metadata is checked against the table: a missing key is a fault of ours and raises."""
    if missing := set(reason.value.metadata) - set(metadata):
        raise ValueError(f"{reason.name} lacks {sorted(missing)}")
    return Refusal(reason, message, {key: str(value) for key, value in metadata.items()})


def shutting_down() -> Refusal:
    """What everybody hears whose call ends because the supervisor does."""
    return refusal(Reason.SHUTTING_DOWN, "the supervisor ends; start it again to go on")


def in_words(size_bytes: int) -> str:
    """Bytes as people read them: 1.50 GiB, 45.3 MiB."""
    if size_bytes >= 1 << 30:
        return f"{size_bytes / (1 << 30):.2f} GiB"
    return f"{size_bytes / (1 << 20):.1f} MiB"
