"""`vramd replay FILE`: tells a new core what another one was told, and compares what it answers.

    verdict = replay(lines)

With the same code every action is the same: the core is deterministic. A recording of a fault is a test of its mend.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, cast

from vramd_common.load_settings import LoadOptions
from vramd_common.settings_table import rows

from ..core.actions import SetTimer
from ..core.core import Core
from ..core.events import Event
from .codec import NAME, UnreadableValueError, decode, decode_event, encode_action
from .recorder import FORMAT, LOST, Header


class UnreadableRecordingError(Exception):
    """A file that is no recording, or damaged; its text is for the user, with the line."""


@dataclass(frozen=True)
class Difference:
    """The first difference between the recorded actions and those of this core."""

    event_number: int
    """From 1."""
    event: str
    """As JSON."""
    recorded: str
    """The action of the recording, as JSON; empty where it has none."""
    now: str
    """The action of this core, or how it failed; empty where it wants nothing."""


@dataclass(frozen=True)
class Verdict:
    version: str
    """Version of the vramd that recorded."""
    events: int
    """That were told, the one with the difference among them."""
    actions: int
    """That were the same."""
    difference: Difference | None = None
    unanswered: bool = False
    """The recording ends with an event and without its actions: there it was broken off, or its core failed."""
    cut_off: bool = False
    """The recording is not whole: it ends within a line, which is left out, or says how many lines are lost."""


@dataclass(frozen=True)
class _Step:
    told: object
    event: Event
    answers: list[object] | None
    """None: the recording ends here."""


def replay(lines: Iterable[str]) -> Verdict:
    """Feeds the events of a recording to a core until an action differs. Raises UnreadableRecordingError.

    The core's invariants are checked after each event; a violation is a difference too.
    """
    broken_off: list[str] = []
    verdict = _replay(_documents(lines, broken_off))
    return replace(verdict, cut_off=bool(broken_off))


def _replay(documents: Iterator[tuple[int, dict[str, object]]]) -> Verdict:
    header = _header(documents)
    core = header.core()
    events = actions = 0
    set_before: dict[str, object] = {}
    set_now: dict[str, object] = {}
    for step in _steps(documents):
        events += 1
        try:
            now = _answers(core, step.event)
        except Exception as error:  # a core may fail in any way: that is the finding
            failure = f"{type(error).__name__}: {error}"
            recorded = _text(step.answers)
            return Verdict(header.version, events, actions, Difference(events, _text(step.told), recorded, failure))
        if step.answers is None:
            return Verdict(header.version, events, actions, unanswered=True)
        for before, after in zip_longest(_effective(step.answers, set_before), _effective(now, set_now)):
            if before != after:
                found = Difference(events, _text(step.told), _text(before), _text(after))
                return Verdict(header.version, events, actions, found)
        actions += len(step.answers)
    return Verdict(header.version, events, actions)


def _effective(answers: Iterable[Any], timers: dict[str, object]) -> Iterator[object]:
    """Leaves out each timer that is set already, for the same moment: to set it again changes nothing."""
    for answer in answers:
        if isinstance(answer, dict) and answer.get(NAME) == SetTimer.__name__:
            timer = answer["timer"]
            about = _text({key: value for key, value in timer.items() if key != "at_s"})
            if timers.get(about) == timer["at_s"]:
                continue
            timers[about] = timer["at_s"]
        yield answer


def _answers(core: Core, event: Event) -> list[object]:
    """As a recording has them: what has become of a value on its way through JSON is no difference."""
    actions = core.handle(event)
    core.check()
    answers: list[object] = json.loads(json.dumps([encode_action(action) for action in actions]))
    return answers


def _text(document: object) -> str:
    return "" if document is None else json.dumps(document, ensure_ascii=False)


def _documents(lines: Iterable[str], broken_off: list[str]) -> Iterator[tuple[int, dict[str, object]]]:
    """Each line's object with its number; where a recording is not whole, its last line is put there instead."""
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            broken_off.append(line)
            return
        try:
            document = json.loads(line)
        except ValueError as error:
            raise UnreadableRecordingError(f"line {number}: no JSON: {error}") from error
        if not isinstance(document, dict):
            raise UnreadableRecordingError(f"line {number}: no object")
        if LOST in document:
            broken_off.append(line)
            return
        yield number, document


def _header(documents: Iterator[tuple[int, dict[str, object]]]) -> Header:
    _, first = next(documents, (1, {}))
    if first.get("format") != FORMAT:
        recorder = f" (of vramd {first['version']})" if "version" in first else ""
        raise UnreadableRecordingError(f"line 1: no recording of format {FORMAT}{recorder}")
    with suppress(KeyError, TypeError, AttributeError):  # the decoder says what is wrong with the header
        _nest_load_settings(cast(Any, first)["config"]["models"])
    try:
        return decode(first, Header)
    except UnreadableValueError as error:
        raise UnreadableRecordingError(f"line 1: {error}") from error


def _nest_load_settings(models: dict[str, dict[str, object]]) -> None:
    """Older recordings have the settings of a load beside the others of their model, by their configured names."""
    for table in models.values():
        if load := {row.field: table.pop(row.name) for row in rows(LoadOptions) if row.name in table}:
            table["load"] = load


def _steps(documents: Iterator[tuple[int, dict[str, object]]]) -> Iterator[_Step]:
    for number, document in documents:
        try:
            event = decode_event(document.get("event"))
        except UnreadableValueError as error:
            raise UnreadableRecordingError(f"line {number}: {error}") from error
        answered, answer = next(documents, (number, {"actions": None}))
        answers = answer.get("actions", ())
        if answers is not None and not isinstance(answers, list):
            raise UnreadableRecordingError(f"line {answered}: no actions")
        yield _Step(document["event"], event, answers)
