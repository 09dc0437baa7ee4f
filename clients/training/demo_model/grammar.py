"""What the companion's dialogues are made of: topics, things that people say, slots. Reads the text files beside it.

Pure but for reading those files; the training script and the test suite use it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

_FOLDER = Path(__file__).parent
_SLOT = re.compile(r"\{(\w+)\}")
_TOPIC_SLOTS = frozenset({"topic", "is", "s", "do", "doing"})

Scene = Mapping[str, str]
"""What stands in each slot."""


@dataclass(frozen=True)
class Topic:
    """Something that the companion knows sentences about."""

    name: str
    is_plural: bool
    do: str
    doing: str
    words: frozenset[str]
    """Lower case; a reply with one of them takes the topic up."""
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    tips: tuple[str, ...]

    @property
    def scene(self) -> Scene:
        """The slots that the topic fills."""
        verb, ending = ("are", "") if self.is_plural else ("is", "s")
        return {"topic": self.name, "is": verb, "s": ending, "do": self.do, "doing": self.doing}


@dataclass(frozen=True)
class Section:
    """A kind of thing that people say, and how it may be answered."""

    name: str
    when: str
    """`topic`, `follow` or `social`: see the head of talk.txt."""
    shapes: tuple[str, ...]
    prompts: tuple[str, ...]
    openings: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """All of it."""

    topics: tuple[Topic, ...]
    sections: tuple[Section, ...]
    slots: Mapping[str, tuple[str, ...]]

    def sections_when(self, when: str) -> tuple[Section, ...]:
        """The sections of one kind."""
        return tuple(section for section in self.sections if section.when == when)


@lru_cache(maxsize=1)
def read_grammar() -> Grammar:
    """Reads topics.txt, talk.txt and slots.txt. Raises ValueError with the line that cannot be read."""
    return Grammar(tuple(_topics()), tuple(_sections()), dict(_slots()))


def slots_of(pattern: str) -> frozenset[str]:
    """Names of the slots in a pattern, in lower case."""
    return frozenset(name.lower() for name in _SLOT.findall(pattern))


def fill(pattern: str, scene: Scene) -> str:
    """The pattern with its slots filled. Raises KeyError for a slot that the scene lacks."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        text = scene[name.lower()]
        return text[0].upper() + text[1:] if name[0].isupper() else text

    return _SLOT.sub(value, pattern)


@lru_cache(maxsize=1)
def reply_sentences() -> frozenset[str]:
    """Every sentence that a reply may hold, with every filling of its slots."""
    grammar = read_grammar()
    found = {line for topic in grammar.topics for line in (*topic.statements, *topic.questions, *topic.tips)}
    for section in grammar.sections:
        for pattern in (*section.openings, *section.statements, *section.questions):
            found.update(_fillings(pattern, grammar))
    return frozenset(found)


def _fillings(pattern: str, grammar: Grammar) -> Iterator[str]:
    names = slots_of(pattern)
    others = sorted(names - _TOPIC_SLOTS - {"other"})
    topics = grammar.topics if names & _TOPIC_SLOTS else grammar.topics[:1]
    second = [topic.name for topic in grammar.topics] if "other" in names else [""]
    for topic, other, values in product(topics, second, product(*(grammar.slots[name] for name in others))):
        if other != topic.name:
            yield fill(pattern, {**topic.scene, "other": other, **dict(zip(others, values, strict=True))})


def _blocks(file: str, marks: str) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """The blocks of a file, apart by blank lines: the first line, then the lines by their mark ("" for none)."""
    for block in (_FOLDER / file).read_text("utf-8").split("\n\n"):
        head, *body = block.strip().splitlines()
        if not body or (head.startswith("#") and all(line.startswith("#") for line in body)):
            continue
        lines: dict[str, list[str]] = {}
        for line in body:
            mark = line[0] if line[0] in marks else ""
            lines.setdefault(mark, []).append(line[len(mark) :].strip())
        yield head, {mark: tuple(texts) for mark, texts in lines.items()}


def _topics() -> Iterator[Topic]:
    for head, lines in _blocks("topics.txt", "?>"):
        parts = [part.strip() for part in head.removeprefix("# ").split("|")]
        if len(parts) != 5 or parts[1] not in {"is", "are"}:
            raise ValueError(f"topics.txt: {head!r} does not have the five parts of a topic")
        name, verb, do, doing, words = parts
        yield Topic(name, verb == "are", do, doing, frozenset(words.split()), lines[""], lines["?"], lines[">"])


def _sections() -> Iterator[Section]:
    for head, lines in _blocks("talk.txt", "<!=?"):
        match = re.fullmatch(r"\[(\w+)\] (topic|follow|social): ([!=?oqt ]+)", head)
        if match is None or "" in lines:
            raise ValueError(f"talk.txt: the section {head!r} cannot be read")
        yield Section(
            name=match[1],
            when=match[2],
            shapes=tuple(match[3].split()),
            prompts=lines["<"],
            openings=lines.get("!", ()),
            statements=lines.get("=", ()),
            questions=lines.get("?", ()),
        )


def _slots() -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in (_FOLDER / "slots.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _, values = line.partition(":")
            yield name, tuple(value.strip() for value in values.split(","))
