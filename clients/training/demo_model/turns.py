"""What the three rooms of dialogues have in common: a turn, a question, and how people type. Pure: chance comes in."""

import re
import zlib
from dataclasses import dataclass
from random import Random
from typing import Protocol

_LEAD_INS = ("Hi! ", "Hello! ", "Hey, ", "Oh, ", "Well, ", "So, ")
_SHORT = (
    ("I am ", "I'm "),
    ("do not ", "don't "),
    ("What is ", "What's "),
    ("Let us ", "Let's "),
    ("I will ", "I'll "),
)


@dataclass(frozen=True)
class Turn:
    """What somebody says, and the model's reply."""

    prompt: str
    reply: str


class Question(Protocol):
    """A prompt of a kind that no training dialogue has, and what its reply must be."""

    @property
    def text(self) -> str:
        """The prompt."""

    @property
    def values(self) -> tuple[str, ...]:
        """What the prompt names and a good reply may repeat."""

    def is_well_formed(self, reply: str) -> bool:
        """Whether the reply has the form that it must have, right or not."""

    def is_right(self, reply: str) -> bool:
        """Whether it answers this question."""


def held_out(*parts: str) -> bool:
    """Whether the training never has these parts in one turn: about one combination in six."""
    return zlib.crc32("|".join(parts).encode()) % 6 == 0


def as_typed(prompt: str, chance: Random) -> str:
    """The prompt as people type it: with short forms, after a word of greeting, in lower case, without its end mark."""
    if chance.random() < 0.1:
        prompt = chance.choice(_LEAD_INS) + prompt
    if chance.random() < 0.3:
        for long, short in _SHORT:
            prompt = prompt.replace(long, short)
    if chance.random() < 0.2:
        prompt = prompt.lower()
    if chance.random() < 0.2:
        prompt = re.sub(r"[.?!]$", "", prompt)
    return prompt
