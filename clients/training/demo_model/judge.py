"""Judges replies to held-out questions: the same figures for each domain. Each question knows its own answer. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from demo_model.turns import Question


@dataclass(frozen=True)
class Report:
    """What the replies to held-out questions are worth, in replies."""

    replies: int
    well_formed: int
    different: int
    most_often: int
    """How often the commonest reply comes up."""
    right: int
    right_by_chance: int
    """Replies that would pass for right under the question before theirs."""
    keeps_values: int
    """Replies that repeat what their question names, of those that name something ..."""
    has_values: int
    """... of so many questions. No bar: many good replies do not repeat it."""

    @property
    def passes(self) -> bool:
        """Whether it meets the bars, which are stated for 100 replies."""
        share = self.replies / 100
        return (
            self.well_formed >= 90 * share
            and self.different >= 60 * share
            and self.most_often <= 5 * share
            and self.right >= 70 * share
        )


def judge(questions: Sequence[Question], replies: Sequence[str]) -> Report:
    """Judges each reply by its question."""
    pairs = list(zip(questions, replies, strict=True))
    with_values = [(question, reply) for question, reply in pairs if question.values]
    return Report(
        replies=len(pairs),
        well_formed=sum(question.is_well_formed(reply) for question, reply in pairs),
        different=len(set(replies)),
        most_often=max(Counter(replies).values(), default=0),
        right=sum(question.is_right(reply) for question, reply in pairs),
        right_by_chance=sum(pairs[place - 1][0].is_right(reply) for place, (_, reply) in enumerate(pairs)),
        keeps_values=sum(all(value in reply for value in question.values) for question, reply in with_values),
        has_values=len(with_values),
    )
