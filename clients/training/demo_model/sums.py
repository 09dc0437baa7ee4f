"""Composes the sums that the mathematician is trained on, the held-out ones that it is asked, and the judge of both.

Held out is about one sum in six of each way of asking: of two numbers, where the answer is worked out in steps, the
pair of numbers in whatever words; elsewhere (the tables) the numbers together with the words. Pure: chance comes in.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

from demo_model.dialogues import compose as small_talk
from demo_model.grammar import fill, slots_of
from demo_model.turns import Turn, as_typed, held_out

_FILE = Path(__file__).with_name("sums.txt")
_TURNS = (1, 1, 2, 2, 3)
_REFUSALS = ("I only do small sums.", "That is no sum that I know.", "Ask me a small sum instead.")
_REFUSED_SHARE = 0.03
_WORD_SUM_SHARE = 0.5
_SHARES = {"a + b": 8, "a - b": 8, "a * b": 4, "a / b": 4, "a + b + c": 2, "a + b - c": 2}
_EQUATION = re.compile(r"(?:So )?(\d+) ([-+*/]) (\d+) = (\d+)\.")


@dataclass(frozen=True)
class Section:
    """A formula, and how it is asked for."""

    formula: str
    ranges: Mapping[str, tuple[int, int]]
    """The first and the last value of each number."""
    prompts: tuple[tuple[str, str], ...]
    """Each with the closing sentence of its answer, or with none ("")."""


@dataclass(frozen=True)
class Sum:
    """One question with its numbers, and its answer."""

    text: str
    reply: str
    values: tuple[str, ...] = ()
    """None: answers leave out who has what."""

    def is_well_formed(self, reply: str) -> bool:
        """Whether it is equations, and at most one closing sentence of the grammar."""
        *working, last = _sentences(reply)
        equations = [*working, *([last] if _EQUATION.fullmatch(last) else [])]
        closes = bool(_EQUATION.fullmatch(last) or _closings().fullmatch(last))
        return bool(equations) and all(map(_EQUATION.fullmatch, equations)) and closes

    def is_right(self, reply: str) -> bool:
        """Whether every equation holds, and the last sentence is that of the right answer, word for word."""
        equations = [match.groups() for match in _EQUATION.finditer(reply)]
        true = all(_holds(int(left), sign, int(right), int(result)) for left, sign, right, result in equations)
        return bool(equations) and true and _sentences(reply)[-1] == _sentences(self.reply)[-1]


def compose(chance: Random) -> list[Turn]:
    """One to three sums, none of them held out; now and then something else is asked, and refused."""
    return [_turn(chance) for _ in range(chance.choice(_TURNS))]


def held_out_sums(count: int, seed: int = 0) -> list[Sum]:
    """Different sums, spread evenly over the ways to ask; the training has none of them."""
    sections, _ = _read()
    chance = Random(seed)
    found: dict[str, Sum] = {}
    for _ in range(count // 10 + 2):
        for section in sections:
            for prompt, closing in section.prompts:
                numbers = _numbers(section, chance)
                while not _is_held_out(section, prompt, numbers):
                    numbers = _numbers(section, chance)
                asked = _sum(section, prompt, closing, numbers, chance)
                found.setdefault(asked.text, asked)
    return chance.sample(list(found.values()), count)


def _turn(chance: Random) -> Turn:
    if chance.random() < _REFUSED_SHARE:
        return Turn(small_talk(chance)[0].prompt, chance.choice(_REFUSALS))
    sections, _ = _read()
    section = chance.choices(sections, [_SHARES[section.formula] for section in sections])[0]
    while True:
        in_words = chance.random() < _WORD_SUM_SHARE
        prompt, closing = chance.choice([way for way in section.prompts if bool(way[1]) == in_words])
        numbers = _numbers(section, chance)
        if not _is_held_out(section, prompt, numbers):
            asked = _sum(section, prompt, closing, numbers, chance)
            return Turn(as_typed(asked.text, chance), asked.reply)


def _is_held_out(section: Section, prompt: str, numbers: Mapping[str, int]) -> bool:
    worked_out = section.formula in {"a + b", "a - b"} and numbers["b"] >= 10
    return held_out(section.formula if worked_out else prompt, *map(str, numbers.values()))


def _numbers(section: Section, chance: Random) -> dict[str, int]:
    """Numbers within their ranges whose results are whole and not negative."""
    while True:
        numbers = {name: _number(first, last, chance) for name, (first, last) in section.ranges.items()}
        if "/" in section.formula:
            # Without a rest, and with a result of ten at most.
            numbers["a"] = numbers["b"] * chance.randint(2, 10)
        if all(result >= 0 for *_, result in _equations(section.formula, numbers)):
            return numbers


def _number(first: int, last: int, chance: Random) -> int:
    """Small ones come up more often than large ones."""
    return chance.randint(first, min(last, 12)) if chance.random() < 0.3 else chance.randint(first, last)


def _sum(section: Section, prompt: str, closing: str, numbers: Mapping[str, int], chance: Random) -> Sum:
    _, slots = _read()
    equations = list(_equations(section.formula, numbers))
    result = equations[-1][-1]
    named = {name: chance.choice(slots[name]) for name in sorted(slots_of(prompt) & slots.keys())}
    scene = {**named, **{name: str(number) for name, number in numbers.items()}, "r": str(result)}
    sentences = [f"{left} {sign} {right} = {value}." for left, sign, right, value in equations]
    if closing:
        sentences.append(fill(closing, scene))
    elif len(equations) > 1 and len(numbers) == 2:
        formula = re.sub(r"[ab]", lambda letter: str(numbers[letter[0]]), section.formula)
        sentences.append(f"So {formula} = {result}.")
    return Sum(fill(prompt, scene), " ".join(sentences))


def _equations(formula: str, numbers: Mapping[str, int]) -> Iterator[tuple[int, str, int, int]]:
    """The steps from left to right; what is added or taken away goes by its tens first, then by its ones."""
    first, *rest = formula.split()
    left = numbers[first]
    for sign, letter in zip(rest[::2], rest[1::2], strict=True):
        right = numbers[letter]
        tens, ones = right // 10 * 10, right % 10
        for part in (tens, ones) if sign in "+-" and tens and ones else (right,):
            value = _value(left, sign, part)
            yield left, sign, part, value
            left = value


def _value(left: int, sign: str, right: int) -> int:
    """Divisions go without a rest here."""
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left // right


def _holds(left: int, sign: str, right: int, result: int) -> bool:
    if sign == "/":
        return right > 0 and right * result == left
    return _value(left, sign, right) == result


def _sentences(reply: str) -> list[str]:
    return re.split(r"(?<=\.) ", reply)


@lru_cache(maxsize=1)
def _closings() -> re.Pattern[str]:
    """Every closing sentence, with any number."""
    sections, _ = _read()
    closings = {closing for section in sections for _, closing in section.prompts if closing}
    return re.compile("|".join(fill(closing.replace(".", r"\."), {"r": r"\d+"}) for closing in sorted(closings)))


@lru_cache(maxsize=1)
def _read() -> tuple[tuple[Section, ...], Mapping[str, tuple[str, ...]]]:
    """The sections and the slots of sums.txt. Raises ValueError with the line that cannot be read."""
    sections: list[Section] = []
    slots: dict[str, tuple[str, ...]] = {}
    for block in _FILE.read_text("utf-8").split("\n\n"):
        lines = [line for line in block.strip().splitlines() if not line.startswith("#")]
        if not lines:
            continue
        if not lines[0].startswith("["):
            slots.update(_slot(line) for line in lines)
            continue
        head, *body = lines
        match = re.fullmatch(r"\[([-+*/abc ]+)\] (.+)", head)
        if match is None or not all(line.startswith("< ") for line in body):
            raise ValueError(f"sums.txt: the section {head!r} cannot be read")
        ranges = {name: (int(first), int(last)) for name, first, last in re.findall(r"([abc]) (\d+)-(\d+)", match[2])}
        prompts = [line.removeprefix("< ").partition(" | ") for line in body]
        sections.append(Section(match[1], ranges, tuple((prompt, closing) for prompt, _, closing in prompts)))
    return tuple(sections), slots


def _slot(line: str) -> tuple[str, tuple[str, ...]]:
    name, _, values = line.partition(": ")
    return name, tuple(values.split(", "))
