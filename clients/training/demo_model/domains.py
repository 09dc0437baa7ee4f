"""The three models that ship: what each is called, how large it is, what it learns from and what it is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from demo_model import dialogues, programs, sums
from demo_model.shape import Shape
from demo_model.turns import Question, Turn


@dataclass(frozen=True)
class Domain:
    """One model, before it is trained."""

    name: str
    tag: str
    """What it is good for, as the file says under `general.tags`."""
    description: str
    shape: Shape
    dialogues: int
    """It is trained on so many, each once."""
    digit_by_digit: bool
    """Whether each digit is a token of its own."""
    compose: Callable[[Random], list[Turn]]
    questions: Callable[[int], Sequence[Question]]
    """So many held-out questions, always the same ones."""


_SMALLER = Shape(vocabulary=640, embedding=96, layers=4, feed_forward=256)

DOMAINS: Mapping[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain(
            name="companion",
            tag="dialogue",
            description="A very small companion for a desktop: small talk in English, trained on composed dialogues",
            shape=Shape(),
            dialogues=64_000,
            digit_by_digit=False,
            compose=dialogues.compose,
            questions=dialogues.held_out_prompts,
        ),
        Domain(
            name="coder",
            tag="code",
            description="A very small coder: tiny programs in Python, C and JavaScript, trained on composed requests",
            shape=_SMALLER,
            dialogues=64_000,
            digit_by_digit=True,
            compose=programs.compose,
            questions=programs.held_out_requests,
        ),
        Domain(
            name="mathematician",
            tag="math",
            description="A very small mathematician: sums and word sums up to 200, trained on composed ones",
            shape=_SMALLER,
            dialogues=64_000,
            digit_by_digit=True,
            compose=sums.compose,
            questions=sums.held_out_sums,
        ),
    )
}
