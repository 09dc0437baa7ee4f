"""Why a model changes its state, and what is waited for: what programs go by, and words for people. Pure values."""

from dataclasses import dataclass, replace
from enum import Enum, auto


class Cause(Enum):
    """Why a model changes its state, or why its process ended."""

    ASKED_FOR = auto()
    """Somebody wants it."""
    PRELOAD = auto()
    """The configuration wants it from the start."""
    LOADING = auto()
    """Its load goes on."""
    NO_ROOM = auto()
    """A load that nobody waits for found no room beside the others."""
    REFUSED = auto()
    """There is no way to load it, or it did not load."""
    TOOK_TOO_MUCH = auto()
    """It took more than it was promised."""
    HUNG = auto()
    """It did not come to an end."""
    CRASHED = auto()
    """Its process ended by itself."""
    IDLE = auto()
    """Nobody used it for its keep-alive."""
    UNLOAD = auto()
    """Somebody had it unloaded."""
    RESTART = auto()
    """Somebody had it restarted."""
    RELOAD = auto()
    """Somebody had it loaded with other settings."""
    EVICTED_FOR_MODEL = auto()
    """Another model needs its memory."""
    EVICTED_FOR_GROUP = auto()
    """Another model of its group is to come."""
    EVICTED_FOR_LIMIT = auto()
    """Another model is to come, and there are as many as may be."""
    EVICTED_FOR_RESERVATION = auto()
    """A reservation needs its memory."""
    EVICTED_FOR_OTHERS = auto()
    """Other programs need the headroom."""
    SHUTDOWN = auto()
    """The supervisor ends."""


class Awaited(Enum):
    """What is waited for until a model answers."""

    PLAN = auto()
    """What it will take is being found out."""
    MEMORY = auto()
    """The memory of others is on its way back."""
    BUSY_MODELS = auto()
    """Others hold the memory, and work."""
    OTHER_PROGRAMS = auto()
    """Other programs take the memory, or took it of late."""
    EXCLUSION = auto()
    """Others may not be there beside it, and are still there."""
    PROCESS = auto()
    """Its process starts."""
    WEIGHTS = auto()
    """Its process reads the weights."""
    PLACE = auto()
    """It answers as many as it can at once."""
    FORMER_PROCESS = auto()
    """The process that it had is on its way out."""


RECORDED = frozenset(
    {
        Cause.REFUSED,
        Cause.TOOK_TOO_MUCH,
        Cause.HUNG,
        Cause.EVICTED_FOR_MODEL,
        Cause.EVICTED_FOR_GROUP,
        Cause.EVICTED_FOR_LIMIT,
        Cause.EVICTED_FOR_RESERVATION,
        Cause.EVICTED_FOR_OTHERS,
    }
)
"""The end of a process for one of these has its record before the process is ended; for the others it is the record."""


@dataclass(frozen=True)
class Because:
    """One cause, with its words."""

    cause: Cause
    words: str

    def after(self, words: str) -> "Because":
        """The same cause of what comes of it."""
        return replace(self, words=f"{words}: {self.words}")


@dataclass(frozen=True)
class Beneficiary:
    """For whom something has to go."""

    name: str
    """In messages."""
    model: str = ""
    """Its id, if it is one."""
    reservation: int = 0
    """Its id, if it is one."""

    def because(self, words: str) -> Because:
        """Its need of room is why others have to go."""
        if self.model:
            return Because(Cause.EVICTED_FOR_MODEL, words)
        return Because(Cause.EVICTED_FOR_RESERVATION if self.reservation else Cause.EVICTED_FOR_OTHERS, words)


ASKED_FOR = Because(Cause.ASKED_FOR, "it is asked for")
PINNED = Because(Cause.ASKED_FOR, "it is pinned: it is loaded anew")
PRELOAD = Because(Cause.PRELOAD, "it is to be there from the start")
HAS_ROOM = Because(Cause.LOADING, "there is room")
STARTED = Because(Cause.LOADING, "its process has started")
NO_ROOM = Because(Cause.NO_ROOM, "there is no room for it beside the others")
UNLOAD = Because(Cause.UNLOAD, "unload was asked for")
RESTART = Because(Cause.RESTART, "a restart was asked for")
SHUTDOWN = Because(Cause.SHUTDOWN, "the supervisor ends")


def loaded(context_tokens: int) -> Because:
    """It answers."""
    return Because(Cause.LOADING, f"loaded with {context_tokens} tokens of context")


def idle(keep_alive_s: float) -> Because:
    """Nobody used it for so long."""
    return Because(Cause.IDLE, f"it was idle for {keep_alive_s:g} s (keep-alive)")


def reload(differences: str) -> Because:
    """Somebody wants it with other settings."""
    return Because(Cause.RELOAD, f"a load with other settings was asked for: {differences}")


def evicted(cause: Cause, beneficiary: Beneficiary) -> Because:
    """It has to go for something else."""
    return Because(cause, f"evicted for {beneficiary.name}")


def group_of(model: str, group: str) -> Because:
    """Why others of a group have to go before a model may begin."""
    return Because(Cause.EVICTED_FOR_GROUP, f"{model} is of the group {group!r}, of which one may be there")


def limit_of(most: int) -> Because:
    """Why others have to go before a model may begin where there are as many as may be."""
    return Because(Cause.EVICTED_FOR_LIMIT, f"at most {most} models may be there")


def refused(message: str) -> Because:
    """It cannot be loaded, as those who wait for it are told."""
    return Because(Cause.REFUSED, message)


def took_too_much(message: str) -> Because:
    """It took more than it was promised."""
    return Because(Cause.TOOK_TOO_MUCH, message)


def hung() -> Because:
    """Its load did not come to an end."""
    return Because(Cause.HUNG, "the load took too long")


def crashed(how: str) -> Because:
    """Its process ended by itself, in this way."""
    return Because(Cause.CRASHED, f"its process died: {how}")
