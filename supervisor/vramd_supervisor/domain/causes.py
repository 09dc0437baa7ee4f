"""Causes of state changes and of waiting: an enum for programs, words for people. Pure values."""

from dataclasses import dataclass, replace
from enum import Enum, auto


class Cause(Enum):
    """The cause of a model's state change, or of the end of its process."""

    ASKED_FOR = auto()
    """It was requested, or it is pinned."""
    PRELOAD = auto()
    """The configuration preloads it."""
    LOADING = auto()
    """Its load proceeds."""
    NO_ROOM = auto()
    """A load without a waiting caller found no room beside the other models."""
    REFUSED = auto()
    """It cannot be loaded, or its load failed."""
    TOOK_TOO_MUCH = auto()
    """It took more memory than it was promised."""
    HUNG = auto()
    """Its process made no progress, or its load did not finish in time."""
    CRASHED = auto()
    """Its process died unasked."""
    IDLE = auto()
    """It was idle for its keep-alive."""
    UNLOAD = auto()
    """An unload was requested."""
    RESTART = auto()
    """A restart was requested."""
    RELOAD = auto()
    """A load with other settings was requested."""
    EVICTED_FOR_MODEL = auto()
    """Another model needs its memory."""
    EVICTED_FOR_GROUP = auto()
    """Another model of its group is about to load."""
    EVICTED_FOR_LIMIT = auto()
    """Another model is about to load, and `at_most_resident` is reached."""
    EVICTED_FOR_RESERVATION = auto()
    """A reservation needs its memory."""
    EVICTED_FOR_OTHERS = auto()
    """Other programs are using the headroom."""
    EVICTED_FOR_BUDGET = auto()
    """The configuration gives its device a lower budget."""
    CONFIGURATION = auto()
    """The configuration has changed: the model is gone, or is to be loaded otherwise."""
    SHUTDOWN = auto()
    """The supervisor is shutting down."""
    PAUSE = auto()
    """Its process died: the next one is started after a pause."""
    QUARANTINED = auto()
    """Its processes died too often."""
    QUARANTINE_OVER = auto()
    """The time of its quarantine is over."""
    RESET = auto()
    """A caller has cleared what was remembered of its deaths."""


class Awaited(Enum):
    """The thing that a request waits for until its model answers."""

    PLAN = auto()
    """Its memory need is being computed."""
    MEMORY = auto()
    """Memory of ended processes is being released."""
    BUSY_MODELS = auto()
    """Busy models hold the memory."""
    OTHER_PROGRAMS = auto()
    """Other programs hold the memory, or did recently."""
    EXCLUSION = auto()
    """Models that may not be loaded beside it still are."""
    PROCESS = auto()
    """Its process is starting."""
    WEIGHTS = auto()
    """Its process is reading the weights."""
    PLACE = auto()
    """All its slots are taken."""
    FORMER_PROCESS = auto()
    """Its previous process is still ending."""
    PAUSE = auto()
    """Its process died, and the next one is started after a pause."""
    OTHER_LOADS = auto()
    """Processes die so often that loads begin one at a time."""


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
        Cause.EVICTED_FOR_BUDGET,
    }
)
"""Causes that are journalled before the process is ended; for the others, the end itself is journalled."""


@dataclass(frozen=True)
class Because:
    """A cause, with words for people."""

    cause: Cause
    words: str

    def after(self, words: str) -> "Because":
        """Returns the same cause for a consequence, with these words in front."""
        return replace(self, words=f"{words}: {self.words}")


@dataclass(frozen=True)
class Beneficiary:
    """The model, reservation or other program that an eviction serves."""

    name: str
    """Name in messages."""
    model: str = ""
    """Model id; empty if it is no model."""
    reservation: int = 0
    """Reservation id; 0 if it is no reservation."""

    def because(self, words: str) -> Because:
        """Returns the eviction cause that its need for memory amounts to."""
        if self.model:
            return Because(Cause.EVICTED_FOR_MODEL, words)
        return Because(Cause.EVICTED_FOR_RESERVATION if self.reservation else Cause.EVICTED_FOR_OTHERS, words)


ASKED_FOR = Because(Cause.ASKED_FOR, "it is asked for")
PINNED = Because(Cause.ASKED_FOR, "it is pinned: it is loaded again")
PRELOAD = Because(Cause.PRELOAD, "it is to be there from the start")
HAS_ROOM = Because(Cause.LOADING, "there is room")
STARTED = Because(Cause.LOADING, "its process has started")
NO_ROOM = Because(Cause.NO_ROOM, "there is no room for it beside the others")
UNLOAD = Because(Cause.UNLOAD, "unload was asked for")
RESTART = Because(Cause.RESTART, "a restart was asked for")
REMOVED = Because(Cause.CONFIGURATION, "it was removed from the configuration")
CONFIGURED = Because(Cause.CONFIGURATION, "it is configured otherwise by now: it is loaded anew")
SHUTDOWN = Because(Cause.SHUTDOWN, "the supervisor ends")
SMALLER = Because(Cause.ASKED_FOR, "it is asked for; its last process ran out of memory, so it shall take less")
RETURNS = Because(Cause.ASKED_FOR, "it comes back by itself")
UNWANTED = Because(Cause.UNLOAD, "nobody wants it any more")
QUARANTINE_OVER = Because(Cause.QUARANTINE_OVER, "its quarantine is over: the next load is on probation")
RESET = Because(Cause.RESET, "its quarantine was ended by a caller")


def loaded(context_tokens: int) -> Because:
    """The model is loaded and answers."""
    return Because(Cause.LOADING, f"loaded with {context_tokens} tokens of context")


def idle(keep_alive_s: float) -> Because:
    """The model was idle for its keep-alive."""
    return Because(Cause.IDLE, f"it was idle for {keep_alive_s:g} s (keep-alive)")


def reload(differences: str) -> Because:
    """A load with other settings was requested."""
    return Because(Cause.RELOAD, f"a load with other settings was asked for: {differences}")


def evicted(cause: Cause, beneficiary: Beneficiary) -> Because:
    """The process is evicted for something else."""
    return Because(cause, f"evicted for {beneficiary.name}")


def group_of(model: str, group: str) -> Because:
    """Other models of the group must be unloaded before this one may load."""
    return Because(Cause.EVICTED_FOR_GROUP, f"{model} is of the group {group!r}, of which one may be there")


def limit_of(most: int) -> Because:
    """Other models must be unloaded before this one may load: the limit is reached."""
    return Because(Cause.EVICTED_FOR_LIMIT, f"at most {most} models may be there")


def refused(message: str) -> Because:
    """The model cannot be loaded; its waiting callers get the same message."""
    return Because(Cause.REFUSED, message)


def took_too_much(message: str) -> Because:
    """The process took more memory than it was promised."""
    return Because(Cause.TOOK_TOO_MUCH, message)


def hung(how: str) -> Because:
    """The process made no progress, or the load did not finish in time."""
    return Because(Cause.HUNG, how)


def pause(seconds: float, how: str, refused: str = "") -> Because:
    """The next process is started after a pause, as the last one died, or its load was refused."""
    why = f"its load was refused ({refused})" if refused else f"its process died ({how})"
    return Because(Cause.PAUSE, f"{why}: the next one is started in {seconds:.1f} s")


def quarantined(words: str) -> Because:
    """The model is not loaded for a while."""
    return Because(Cause.QUARANTINED, words)


def crashed(how: str) -> Because:
    """The process died unasked; `how` says in which way."""
    return Because(Cause.CRASHED, f"its process died: {how}")
