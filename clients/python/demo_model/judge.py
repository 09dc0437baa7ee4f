"""Judges the companion's replies by the grammar that its dialogues are made of. Pure.

A reply is well-formed if it is one to four sentences, none of them twice, and each of them is word for word a sentence
of the grammar with its slots filled (so it has a capital, an end mark, known words and the right verb form). This is
strict: a new but good sentence fails. It takes up a topic if it has one of the topic's words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from demo_model.dialogues import HeldOut
from demo_model.grammar import Topic, reply_sentences


@dataclass(frozen=True)
class Report:
    """What the replies to held-out prompts are worth, in replies."""

    replies: int
    well_formed: int
    different: int
    most_often: int
    """How often the commonest reply comes up."""
    on_topic: int
    on_wrong_topic: int
    """Replies that would pass for on topic under the prompt before theirs: what chance gives."""
    keeps_values: int
    """Replies that name the feeling, time or name of a prompt that has one ..."""
    has_values: int
    """... of so many prompts. No bar: many good replies do not repeat it."""

    @property
    def passes(self) -> bool:
        """Whether it meets the bars, which are stated for 100 replies."""
        share = self.replies / 100
        return (
            self.well_formed >= 90 * share
            and self.different >= 60 * share
            and self.most_often <= 5 * share
            and self.on_topic >= 70 * share
        )


def sentences_of(reply: str) -> list[str]:
    """The reply cut behind its end marks."""
    return re.split(r"(?<=[.!?]) ", reply)


def is_well_formed(reply: str) -> bool:
    """Whether it is sentences of the grammar; see above."""
    sentences = sentences_of(reply)
    known = reply_sentences()
    return len(sentences) == len(set(sentences)) <= 4 and all(sentence in known for sentence in sentences)


def takes_up(reply: str, topic: Topic) -> bool:
    """Whether it has one of the topic's words."""
    return bool(topic.words & set(re.findall(r"[a-z]+", reply.lower())))


def judge(prompts: Sequence[HeldOut], replies: Sequence[str]) -> Report:
    """Judges each reply by its prompt."""
    pairs = list(zip(prompts, replies, strict=True))
    with_values = [(prompt, reply) for prompt, reply in pairs if prompt.values]
    return Report(
        replies=len(pairs),
        well_formed=sum(is_well_formed(reply) for reply in replies),
        different=len(set(replies)),
        most_often=max(Counter(replies).values(), default=0),
        on_topic=sum(takes_up(reply, prompt.topic) for prompt, reply in pairs),
        on_wrong_topic=sum(takes_up(reply, pairs[place - 1][0].topic) for place, (_, reply) in enumerate(pairs)),
        keeps_values=sum(all(value in reply for value in prompt.values) for prompt, reply in with_values),
        has_values=len(with_values),
    )
