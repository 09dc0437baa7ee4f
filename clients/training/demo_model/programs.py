"""Composes the requests that the coder is trained on, the held-out ones that it is asked, and the judge of both.

Held out is, for each program, about one way of asking in six, and about one name, number, text or variable in six; a
held-out request has both. Pure: chance comes in; no program is ever run.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random

from demo_model.dialogues import compose as small_talk
from demo_model.grammar import fill, slots_of
from demo_model.turns import Turn, as_typed, held_out

_FILE = Path(__file__).with_name("programs.txt")
_TURNS = (1, 1, 1, 2, 2)
_LANGUAGES = ("Python", "C", "JavaScript")
_REFUSALS = ("I only write tiny programs.", "That is no program that I know.", "Ask me for a loop or a function.")
_REFUSED_SHARE = 0.03
_FUNCTION_PATTERNS = (
    "Write a function that {what} in {language}.",
    "Write a {language} function that {what}.",
    "A function that {what} in {language}.",
    "A {language} function that {what}, please.",
    "I need a {language} function that {what}.",
    "How do I write a function that {what} in {language}?",
    "Can you write a {language} function that {what}?",
    "Write a function called {name} that {what} in {language}.",
    "Write a {language} function called {name} that {what}.",
    "I need a {language} function named {name} that {what}.",
    "A function {name} that {what} in {language}.",
    "Write a function that {what}.",
    "Write a function called {name} that {what}.",
)
_SNIPPET_PATTERNS = (
    "Write {what} in {language}.",
    "Show me {what} in {language}.",
    "I need {what} in {language}.",
    "How do I write {what} in {language}?",
    "Can you write {what} in {language}?",
    "In {language}, write {what}.",
    "{What} in {language}, please.",
    "Write {what}.",
)
"""Where no language is named, it is Python."""
_NUMBERS = range(1, 101)
_SMALL = 12
_SMALL_SHARE = 0.6
"""Of the numbers: what people ask for is small."""
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|\w+|[^\w\s]')
_CLOSING = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Program:
    """Something to be written, and itself in each language."""

    name: str
    """Of its block; a function that is asked for without a name gets it too."""
    is_function: bool
    whats: tuple[str, ...]
    code: Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """One request, and the program that answers it."""

    text: str
    values: tuple[str, ...]
    language: str
    code: str

    def is_well_formed(self, reply: str) -> bool:
        """Whether it can be read as a program of the language: Python compiles; elsewhere brackets match, lines end."""
        if self.language == "Python":
            return _parsed(reply) is not None
        return _brackets_match(reply) and all(line.endswith((";", "{", "}")) for line in reply.splitlines())

    def is_right(self, reply: str) -> bool:
        """Whether it is the program that was asked for, but for white space."""
        if self.language == "Python":
            return _parsed(reply) == _parsed(self.code)
        return _TOKEN.findall(reply) == _TOKEN.findall(self.code)


def compose(chance: Random) -> list[Turn]:
    """One or two requests, none of them held out; now and then something else is asked, and refused."""
    return [_turn(chance) for _ in range(chance.choice(_TURNS))]


def held_out_requests(count: int, seed: int = 0) -> list[Request]:
    """Different requests, spread evenly over the programs; the training has none of their pairs."""
    programs, _ = _read()
    chance = Random(seed)
    found: dict[str, Request] = {}
    for round_ in range(count // 10 + 2):
        for program in programs:
            ways = [way for way in _ways(program) if held_out(program.name, *way)]
            asked = _request(program, ways[round_ % len(ways)], chance, are_held_out=True)
            found.setdefault(asked.text, asked)
    return chance.sample(list(found.values()), count)


def _turn(chance: Random) -> Turn:
    if chance.random() < _REFUSED_SHARE:
        return Turn(small_talk(chance)[0].prompt, chance.choice(_REFUSALS))
    programs, _ = _read()
    program = chance.choice(programs)
    ways = [way for way in _ways(program) if not held_out(program.name, *way)]
    asked = _request(program, chance.choice(ways), chance, are_held_out=False)
    return Turn(as_typed(asked.text, chance), asked.code)


def _ways(program: Program) -> list[tuple[str, str]]:
    """Patterns to ask for it, each with the language of the answer: Python where the pattern has none."""
    patterns = _FUNCTION_PATTERNS if program.is_function else _SNIPPET_PATTERNS
    return [
        (pattern, language)
        for pattern in patterns
        for language in (_LANGUAGES if "{language}" in pattern else ("Python",))
    ]


def _request(program: Program, way: tuple[str, str], chance: Random, *, are_held_out: bool) -> Request:
    """The program asked for in this way, with values that are all held out for it, or none of them."""
    _, slots = _read()
    pattern, language = way
    what = chance.choice(program.whats)
    scene = {"language": language, "name": program.name}
    for name in sorted((slots_of(pattern) | slots_of(what)) & slots.keys()):
        scene[name] = chance.choice([value for value in slots[name] if held_out(program.name, value) == are_held_out])
    wanted = sorted(slots_of(what) & {"n", "m", "k"}, reverse=True)
    numbers = [number for number in _NUMBERS if held_out(program.name, str(number)) == are_held_out]
    small = [number for number in numbers if number <= _SMALL]
    if chance.random() < _SMALL_SHARE and len(small) >= len(wanted):
        numbers = small
    # In ascending order, because a loop goes up.
    scene.update(zip(wanted, map(str, sorted(chance.sample(numbers, len(wanted)))), strict=True))
    text = fill(pattern, {**scene, "what": fill(what, scene)})
    values = tuple(scene[name] for name in sorted((slots_of(pattern) | slots_of(what)) - {"language", "what"}))
    return Request(text, values, language, fill(program.code[language], scene))


def _parsed(code: str) -> str | None:
    """A Python program as the compiler sees it; None if it refuses it."""
    try:
        tree = ast.parse(code)
        compile(tree, "<reply>", "exec")
    except (SyntaxError, ValueError):
        return None
    return ast.dump(tree)


def _brackets_match(code: str) -> bool:
    """Whether each bracket outside of quotes is closed by its own kind, and each quote is closed."""
    opened: list[str] = []
    for part in _TOKEN.findall(code):
        if part == '"':
            return False
        if part in _CLOSING.values():
            opened.append(part)
        elif part in _CLOSING and (not opened or opened.pop() != _CLOSING[part]):
            return False
    return not opened


@lru_cache(maxsize=1)
def _read() -> tuple[tuple[Program, ...], Mapping[str, tuple[str, ...]]]:
    """The programs and the slots of programs.txt. Raises ValueError with the line that cannot be read."""
    *blocks, last = _FILE.read_text("utf-8").strip().split("\n\n")
    slots = dict(_slot(line) for line in last.splitlines())
    return tuple(_program(block) for block in blocks[1:]), slots


def _program(block: str) -> Program:
    head, *lines = block.splitlines()
    match = re.fullmatch(r"# (\w+) (function|snippet)", head)
    if match is None:
        raise ValueError(f"programs.txt: the head {head!r} cannot be read")
    whats = tuple(line.removeprefix("< ") for line in lines if line.startswith("< "))
    code: dict[str, str] = {}
    starts = [lines.index(language) for language in _LANGUAGES]
    for language, (start, end) in zip(_LANGUAGES, pairwise([*starts, len(lines)]), strict=True):
        code[language] = "\n".join(lines[start + 1 : end])
    return Program(match[1], match[2] == "function", whats, code)


def _slot(line: str) -> tuple[str, tuple[str, ...]]:
    name, _, values = line.partition(": ")
    return name, tuple(values.split(", "))
