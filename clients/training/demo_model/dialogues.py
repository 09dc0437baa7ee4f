"""Composes the dialogues that the companion is trained on, and the prompts that it is asked afterwards.

Held out are pairs of a topic with a way of saying (a prompt's pattern) and of a topic with a value of another slot
(a feeling, a time, a name): about one pair in six never comes up in a turn of the training. Pure: chance comes in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from demo_model.grammar import Grammar, Scene, Section, Topic, fill, read_grammar, reply_sentences, slots_of
from demo_model.turns import Turn, as_typed, held_out

PAIRED_SLOTS = ("time", "past", "low", "glad", "name")
"""Slots whose values make pairs with topics."""
_TOPIC_SHARE = 0.68
_TURNS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3)


@dataclass(frozen=True)
class HeldOut:
    """A prompt of a kind that no training dialogue has."""

    text: str
    topic: Topic
    section: str
    values: tuple[str, ...]
    """What stands in its other slots."""

    def is_well_formed(self, reply: str) -> bool:
        """Whether it is one to four sentences of the grammar, word for word, none of them twice.

        So it has a capital, an end mark, known words and the right verb form. Strict: a new but good sentence fails.
        """
        sentences = re.split(r"(?<=[.!?]) ", reply)
        known = reply_sentences()
        return len(sentences) == len(set(sentences)) <= 4 and all(sentence in known for sentence in sentences)

    def is_right(self, reply: str) -> bool:
        """Whether it takes the topic up: has one of its words."""
        return bool(self.topic.words & set(re.findall(r"[a-z]+", reply.lower())))


def is_held_out(part: str, topic: Topic) -> bool:
    """Whether the training never pairs the topic with this pattern or value."""
    return held_out(part, topic.name)


def held_out_prompts(count: int, seed: int = 0) -> list[HeldOut]:
    """Different prompts, spread evenly over what is said and the topics; every pair of slots in each is held out."""
    grammar = read_grammar()
    found: list[HeldOut] = []
    for section in grammar.sections_when("topic"):
        for pattern in section.prompts:
            names = sorted(slots_of(pattern) & set(PAIRED_SLOTS))
            for topic in grammar.topics:
                if "word" in slots_of(pattern) or not is_held_out(pattern, topic):
                    continue
                choices = [[value for value in grammar.slots[name] if is_held_out(value, topic)] for name in names]
                chance = Random(f"{seed} {pattern} {topic.name}")
                if all(choices):
                    values = tuple(chance.choice(values) for values in choices)
                    scene = {**topic.scene, **dict(zip(names, values, strict=True))}
                    found.append(HeldOut(fill(pattern, scene), topic, section.name, values))
    return Random(seed).sample(found, count)


def compose(chance: Random) -> list[Turn]:
    """A dialogue of one to three turns without a held-out pair."""
    return _Composer(chance, read_grammar()).dialogue(chance.choice(_TURNS))


class _Composer:
    """Puts one dialogue together."""

    def __init__(self, chance: Random, grammar: Grammar) -> None:
        self._chance = chance
        self._grammar = grammar
        self._said: set[str] = set()
        """Lines of the replies so far."""

    def dialogue(self, turns: int) -> list[Turn]:
        topic: Topic | None = None
        made: list[Turn] = []
        for _ in range(turns):
            section = self._section(topic)
            if section.when == "topic" and (topic is None or self._chance.random() < 0.6):
                topic = self._chance.choice(self._grammar.topics)
            elif section.when == "social":
                topic = None
            made.append(self._turn(section, topic or self._chance.choice(self._grammar.topics)))
        return made

    def _section(self, topic: Topic | None) -> Section:
        chance, grammar = self._chance, self._grammar
        if topic is not None and chance.random() < 0.5:
            when = "follow"
        else:
            when = "topic" if chance.random() < _TOPIC_SHARE else "social"
        sections = grammar.sections_when(when)
        return chance.choices(sections, [len(section.prompts) for section in sections])[0]

    def _turn(self, section: Section, topic: Topic) -> Turn:
        chance = self._chance
        prompts = [pattern for pattern in section.prompts if not is_held_out(pattern, topic)]
        pattern = chance.choice(prompts)
        scene = self._scene(topic)
        shape = chance.choice(section.shapes)
        lines: list[str] = []
        for part in shape:
            lines.append(self._line(part, section, topic, pattern, lines))
        self._said.update(lines)
        return Turn(as_typed(fill(pattern, scene), chance), " ".join(fill(line, scene) for line in lines))

    def _scene(self, topic: Topic) -> Scene:
        chance, slots = self._chance, self._grammar.slots
        other = chance.choice([other for other in self._grammar.topics if other != topic])
        word = chance.choice(sorted(topic.words))
        scene = {**topic.scene, "word": word, "other": other.name, "noise": _noise(chance)}
        for name, values in slots.items():
            scene[name] = chance.choice([value for value in values if not is_held_out(value, topic)])
        return scene

    def _line(self, part: str, section: Section, topic: Topic, prompt: str, before: Sequence[str]) -> str:
        """A line of the reply: not one of those before, and if there is another, none that an earlier reply had."""
        lines: Sequence[str] = {
            "!": section.openings,
            "=": section.statements,
            "?": section.questions,
            "o": topic.statements,
            "q": topic.questions,
            "t": topic.tips,
        }[part]
        # A reply names no feeling, time or name that the prompt does not; only a suggestion may bring up a time.
        closed = set(PAIRED_SLOTS) - slots_of(prompt) - ({"time"} if section.when == "social" else set())
        fitting = [line for line in lines if line not in before and not slots_of(line) & closed]
        fresh = [line for line in fitting if line not in self._said]
        return self._chance.choice(fresh or fitting)


def _noise(chance: Random) -> str:
    """Words that are none."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(chance.choices(letters, k=chance.randint(2, 8))) for _ in range(chance.randint(1, 4)))
