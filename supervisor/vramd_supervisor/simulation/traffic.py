"""A traffic file (TOML) as values: which requests come when, and how fast the simulated machine is.

docs/simulation.md describes it. Reads the file; all that is wrong with it is a TrafficError, which says where.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NewType, TypeVar

from ..domain.config import Priority, Size
from ..domain.sizes import parse_size
from ..settings import toml_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Table = TypeVar("Table", bound="DataclassInstance")
Choice = TypeVar("Choice", bound=Enum)
Rate = NewType("Rate", float)
"""More than 0."""
Count = NewType("Count", int)
"""1 or more."""


_READ_PER_S = Size(1 << 30)
MOST_REQUESTS = 1_000_000
"""Of a whole traffic: some minutes of work."""
_SHORTEST_S = 0.05
"""Of an answer, for the estimate."""


class Arrivals(Enum):
    """When a client of a stream asks."""

    POISSON = "poisson"
    """At random, `every_s` apart on average, whether or not it has its last answer."""
    FIXED = "fixed"
    """Every `every_s` seconds; several clients take turns."""
    CLOSED = "closed"
    """`every_s` after the end of its last answer."""


@dataclass(frozen=True)
class Span:
    """A whole number between two, both possible."""

    least: int
    most: int


@dataclass(frozen=True)
class Stream:
    """`[[stream]]`: callers who want one thing of one model, again and again."""

    model: str
    every_s: float
    tokens: Span
    """Of an answer."""
    prompt_tokens: Span = Span(0, 0)
    arrivals: Arrivals = Arrivals.POISSON
    clients: Count = Count(1)
    """Their number; each asks by itself."""
    start_s: float = 0.0
    end_s: float | None = None
    """None: until the traffic ends."""
    deadline_s: float | None = None
    """That a request may take. None: as configured."""
    keep_alive_s: float | None = None
    """That the request wants the model to stay. None: as configured."""
    priority: Priority | None = None
    """None: the model's own."""


@dataclass(frozen=True)
class Program:
    """`[[program]]`: another program, which takes memory of a device for a time."""

    device: str
    size: Size
    start_s: float = 0.0
    end_s: float | None = None
    """None: until the traffic ends."""


@dataclass(frozen=True)
class Speed:
    """`[models.ID]`: how fast a model is; what is left open is as configured, or as the machine."""

    tokens_per_s: Rate | None = None
    """Of one sequence."""
    prompt_tokens_per_s: Rate | None = None
    load_s: float | None = None


@dataclass(frozen=True)
class Machine:
    """`[machine]`: how fast things are."""

    cores: Count = Count(8)
    """CPU threads that generating workers share."""
    start_s: float = 0.5
    """From the start of a process to its hello."""
    stop_s: float = 0.1
    """From the wish that a process ends to its end."""
    release_s: float = 0.05
    """From the end of a process until its memory is back."""
    read_per_s: Size = _READ_PER_S
    """Bytes of a model's file that are read in a second."""
    tokens_per_s: Rate = Rate(30.0)
    """Of a model with a file, one sequence."""
    prompt_tokens_per_s: Rate = Rate(500.0)


@dataclass(frozen=True)
class Traffic:
    """A whole traffic file."""

    duration_s: Rate
    """No request is made after this."""
    seed: int = 0
    machine: Machine = field(default_factory=Machine)
    models: Mapping[str, Speed] = field(default_factory=dict)
    stream: tuple[Stream, ...] = ()
    program: tuple[Program, ...] = ()


class TrafficError(Exception):
    """Something in a traffic file that cannot stand; its text is for the user, with the key."""


def read_traffic(file: Path) -> Traffic:
    """Raises TrafficError."""
    try:
        raw = toml_text.parse(toml_text.read(file))
    except toml_text.TomlError as error:
        raise TrafficError(f"{file}: {error}") from error
    try:
        traffic = _table(Traffic, raw)
        for number, stream in enumerate(traffic.stream, 1):
            if not stream.every_s and stream.arrivals is not Arrivals.CLOSED:
                raise TrafficError(f"stream: {number}: every_s: may be 0 only where arrivals are closed")
            if stream.end_s is not None and stream.end_s <= stream.start_s:
                raise TrafficError(f"stream: {number}: end_s: must be later than start_s, {stream.start_s:g}")
        if (requests := sum(_requests(stream, traffic.duration_s) for stream in traffic.stream)) > MOST_REQUESTS:
            raise TrafficError(
                f"it would ask about {requests:.2g} times, at most {MOST_REQUESTS:,} times are simulated"
            )
    except TrafficError as error:
        raise TrafficError(f"{file}: {error}") from error
    return traffic


def _requests(stream: Stream, duration_s: float) -> float:
    """About how often it asks at most; a caller who waits for answers asks no more than once in `_SHORTEST_S`."""
    until_s = duration_s if stream.end_s is None else min(stream.end_s, duration_s)
    each_s = max(stream.every_s, _SHORTEST_S) if stream.arrivals is Arrivals.CLOSED else stream.every_s
    return stream.clients * max(1.0, max(0.0, until_s - stream.start_s) / each_s)


def _table(kind: type[Table], raw: object) -> Table:
    """Reads a table as a dataclass; `_READERS` has a reader for each type of field."""
    if not isinstance(raw, dict):
        raise TrafficError("expected a table")
    known = {one.name: one for one in fields(kind)}
    values = {}
    for key, given in raw.items():
        if key not in known:
            raise TrafficError(f"{key}: unknown key; there are {', '.join(known)}")
        try:
            values[key] = _READERS[known[key].type](given)
        except TrafficError as error:
            raise TrafficError(f"{key}: {error}") from error
    for name, one in known.items():
        if name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise TrafficError(f"{name}: is missing")
    return kind(**values)


def _number(given: object, least: float = 0.0) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise TrafficError(f"expected a number, got {given!r}")
    if given < least:
        raise TrafficError(f"must be {least:g} or more, not {given:g}")
    return float(given)


def _rate(given: object) -> float:
    if not (rate := _number(given)):
        raise TrafficError("must be more than 0")
    return rate


def _whole(given: object, least: int = 0) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise TrafficError(f"expected a whole number, got {given!r}")
    return int(_number(given, least))


def _span(given: object) -> Span:
    """A number, or a list of the least and the most."""
    ends = given if isinstance(given, list) else [given, given]
    if len(ends) != 2 or (span := Span(_whole(ends[0]), _whole(ends[1]))).least > span.most:
        raise TrafficError(f"expected a number or [least, most], got {given!r}")
    return span


def _word(given: object) -> str:
    if not isinstance(given, str):
        raise TrafficError(f"expected text in quotes, got {given!r}")
    return given


def _size(given: object) -> Size:
    try:
        return parse_size(given) if isinstance(given, str) else Size(_whole(given))
    except ValueError as error:
        raise TrafficError(str(error)) from error


def _one_of(kind: type[Choice]) -> Callable[[object], Choice]:
    """By the name of a member in small letters."""

    def read(given: object) -> Choice:
        names = {member.name.lower(): member for member in kind}
        if not isinstance(given, str) or given not in names:
            raise TrafficError(f"expected one of {', '.join(names)}, got {given!r}")
        return names[given]

    return read


def _several(kind: type[Table]) -> Callable[[object], tuple[Table, ...]]:
    """`[[table]]`s; they are counted from 1."""

    def read(given: object) -> tuple[Table, ...]:
        if not isinstance(given, list):
            raise TrafficError("expected tables, each under its name in double brackets")
        found = []
        for number, table in enumerate(given, 1):
            try:
                found.append(_table(kind, table))
            except TrafficError as error:
                raise TrafficError(f"{number}: {error}") from error
        return tuple(found)

    return read


def _speeds(given: object) -> dict[str, Speed]:
    if not isinstance(given, dict):
        raise TrafficError("expected a table")
    speeds = {}
    for model, table in given.items():
        try:
            speeds[model] = _table(Speed, table)
        except TrafficError as error:
            raise TrafficError(f"{model}: {error}") from error
    return speeds


_READERS: Mapping[object, Callable[[object], object]] = {
    float: _number,
    float | None: _number,
    Rate: _rate,
    Rate | None: _rate,
    int: _whole,
    Count: lambda given: _whole(given, 1),
    str: _word,
    Size: _size,
    Span: _span,
    Arrivals: _one_of(Arrivals),
    Priority | None: _one_of(Priority),
    Machine: lambda given: _table(Machine, given),
    Mapping[str, Speed]: _speeds,
    tuple[Stream, ...]: _several(Stream),
    tuple[Program, ...]: _several(Program),
}
"""By the type of the field."""
