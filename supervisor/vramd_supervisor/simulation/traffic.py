"""A traffic file (TOML) as values: which requests come when, and how fast the simulated machine is.

docs/simulation.md describes it. Reads the file; all that is wrong with it is a TrafficError, which says where.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NewType, get_args, get_origin

from cattrs import BaseValidationError, Converter

from ..domain.config import Priority, Size
from ..settings import settings_types, toml_text
from ..settings.settings_types import ExpectedError

Rate = NewType("Rate", float)
"""More than 0."""
Count = NewType("Count", int)
"""1 or more."""

_READ_PER_S = Size(1 << 30)
MOST_REQUESTS = 1_000_000
"""Limit for a whole traffic: some minutes of work."""
_SHORTEST_S = 0.05
"""Shortest answer, for the estimate."""


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
    """Length of an answer."""
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
    """Speed of one sequence."""
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
    """Speed of one sequence of a model with a file."""
    prompt_tokens_per_s: Rate = Rate(500.0)


@dataclass(frozen=True)
class Traffic:
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
        traffic: Traffic = _CONVERTER.structure(toml_text.parse(toml_text.read(file)), Traffic)
        _check(traffic)
    except (toml_text.TomlError, TrafficError) as error:
        raise TrafficError(f"{file}: {error}") from error
    except BaseValidationError as error:
        path, text = next(settings_types.mistakes(error))
        raise TrafficError(f"{file}: {': '.join((*path, text))}") from error
    return traffic


def _check(traffic: Traffic) -> None:
    for number, stream in enumerate(traffic.stream, 1):
        if not stream.every_s and stream.arrivals is not Arrivals.CLOSED:
            raise TrafficError(f"stream: {number}: every_s: may be 0 only where arrivals are closed")
        if stream.end_s is not None and stream.end_s <= stream.start_s:
            raise TrafficError(f"stream: {number}: end_s: must be later than start_s, {stream.start_s:g}")
    if (requests := sum(_requests(stream, traffic.duration_s) for stream in traffic.stream)) > MOST_REQUESTS:
        raise TrafficError(f"it would ask about {requests:.2g} times, at most {MOST_REQUESTS:,} times are simulated")


def _requests(stream: Stream, duration_s: float) -> float:
    """About how often it asks at most; a caller who waits for answers asks no more than once in `_SHORTEST_S`."""
    until_s = duration_s if stream.end_s is None else min(stream.end_s, duration_s)
    each_s = max(stream.every_s, _SHORTEST_S) if stream.arrivals is Arrivals.CLOSED else stream.every_s
    return stream.clients * max(1.0, max(0.0, until_s - stream.start_s) / each_s)


def _number(given: object, kind: object) -> float:
    if (number := settings_types.number(given, kind)) < 0:
        raise ValueError(f"must be 0 or more, not {number:g}")
    return number


def _rate(given: object, kind: object) -> float:
    if not (rate := _number(given, kind)):
        raise ValueError("must be more than 0")
    return rate


def _whole(given: object, least: int = 0) -> int:
    if (number := settings_types.whole(given, int)) < least:
        raise ValueError(f"must be {least} or more, not {number}")
    return number


def _span(given: object, _: object) -> Span:
    """A number, or a list of the least and the most."""
    ends = given if isinstance(given, list) else [given, given]
    if len(ends) != 2 or (span := Span(_whole(ends[0]), _whole(ends[1]))).least > span.most:
        raise ExpectedError("a number or [least, most]", given)
    return span


def _is_tuple(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is tuple


def _listed(given: object) -> object:
    if not isinstance(given, list):
        raise ExpectedError("tables, each under its name in double brackets", given)
    return given


def _member(name: object, kind: type[Enum]) -> Enum:
    """By the name of a member in small letters."""
    names = {member.name.lower(): member for member in kind}
    if not isinstance(name, str) or name not in names:
        raise ExpectedError(f"one of {', '.join(names)}", name)
    return names[name]


def _converter() -> Converter:
    converter = settings_types.converter()
    hooks: Mapping[Any, Any] = {
        float: _number,
        Rate: _rate,
        int: lambda given, _: _whole(given),
        Count: lambda given, _: _whole(given, 1),
        Span: _span,
        Arrivals: _member,
        Priority: _member,
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(
        _is_tuple,
        lambda given, kind: tuple(converter.structure(_listed(given), _LIST[get_args(kind)[0]])),
    )
    return converter


_LIST: Any = list
_CONVERTER = _converter()
