"""`talk`: ten turns of a growing conversation, each until its first token."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from . import arms
from .arms import Arms
from .figures import Figure, Result, Unit, at_most, figure, ratios
from .peer import PeerLoad, serving
from .streamed import Target, fresh_prompt
from .subject import Setup, context_of, running

MOST_OF_WITHOUT = at_most(0.15)
MOST_OF_PEER = at_most(1.0)
TURNS, QUICK_TURNS = 10, 3
OPENING_TOKENS = 1200
"""Of the first prompt; the turns bring the history to about 1,500 tokens, half of them to more."""
WISH_TOKENS, ANSWER_TOKENS = 24, 6
"""Of each further turn. An answer's text may have more tokens than were generated: they are found again from text."""

VRAMD, PEER = "vramd", "llama-server"
NOTES = (
    f"{TURNS} prompts, each the one before with its answer and a new wish; the first has about {OPENING_TOKENS} "
    "tokens, those behind it 1,500 on average. Without reuse: the prompt in the middle, changed in its first word.",
    "A conversation is measured as a whole, the arms in turn; no two conversations begin alike. llama-server has its "
    "cache of prompts on, as it is by default; without reuse it is off.",
    arms.NOTE,
)


@dataclass(frozen=True)
class Talk:
    """Seconds to the first token of each turn, and tokens of the prompts."""

    firsts_s: tuple[float, ...]
    cached_tokens: int
    """Of turns 2 and later, those that were not computed."""
    prompt_tokens: int
    """Of turns 2 and later."""
    middle: str
    """The prompt of the turn in the middle, without its first word."""


@dataclass(frozen=True)
class Script:
    """What is said."""

    opening: str
    wish: str
    turns: int

    def run(self, target: Target) -> Talk:
        """Has one conversation."""
        first_word, _, rest = f"{fresh_prompt()}{self.opening}".partition(" ")
        firsts_s, middle, cached, tokens = [], "", 0, 0
        for turn in range(self.turns):
            answer = target.stream(ANSWER_TOKENS, f"{first_word} {rest}")
            firsts_s.append(answer.first_token_s)
            middle = rest if turn == self.turns // 2 else middle
            if turn:
                cached += answer.cached_tokens
                tokens += answer.prompt_tokens
            rest += answer.text + self.wish
        return Talk(tuple(firsts_s), cached, tokens, middle)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    talks: dict[str, list[Talk]] = {}
    without_s: dict[str, list[float]] = {}
    taking = Arms(setup)
    for run in range(setup.runs):
        say(f"talk: run {run + 1} of {setup.runs}")
        _one_run(setup, run, taking, talks, without_s)
    return Result("talk", (*judged(talks, without_s), *taking.figures()), NOTES)


def judged(talks: dict[str, list[Talk]], without_s: dict[str, list[float]]) -> list[Figure]:
    """The figures of all arms."""
    figures: list[Figure] = []
    later = {arm: [first for talk in found for first in talk.firsts_s[1:]] for arm, found in talks.items()}
    for arm, found in talks.items():
        figures += [
            figure(f"first token, turn 1, {arm}", Unit.SECONDS, [talk.firsts_s[0] for talk in found]),
            figure(f"first token, later turns, {arm}", Unit.SECONDS, later[arm]),
            figure(f"first token, without reuse, {arm}", Unit.SECONDS, without_s[arm]),
            figure(f"prompts from the cache, {arm}", Unit.SHARE, [t.cached_tokens / t.prompt_tokens for t in found]),
        ]
    without = [one for one, talk in zip(without_s[VRAMD], talks[VRAMD], strict=True) for _ in talk.firsts_s[1:]]
    figures.append(ratios("vramd, later turns / without reuse", later[VRAMD], without, MOST_OF_WITHOUT))
    if PEER in later:
        figures.append(ratios("vramd / llama-server, later turns", later[VRAMD], later[PEER], MOST_OF_PEER))
    return figures


def _one_run(
    setup: Setup, run: int, taking: Arms, talks: dict[str, list[Talk]], without_s: dict[str, list[float]]
) -> None:
    with ExitStack() as stack:
        subject = stack.enter_context(running(setup, ["a", "b"]))
        threads = setup.threads
        loaded = [subject.client.load(name, threads=threads) for name in ("a", "b")]
        subject.wait_for_spare()  # what starts in the background is not to be measured
        opening, turns = (200, QUICK_TURNS) if setup.quick else (OPENING_TOKENS, TURNS)
        script = Script(subject.text("a", opening), subject.text("a", WISH_TOKENS), turns)
        targets: dict[str, Target] = {VRAMD: stack.enter_context(subject.way("a"))}
        # What is asked without reuse takes nothing of the conversation's memory.
        others: dict[str, Target] = {VRAMD: stack.enter_context(subject.way("b"))}
        if setup.peer:
            context, parallel = context_of(loaded[0]), loaded[0].parallel
            for where, cache in ((targets, True), (others, False)):
                load = PeerLoad(context, threads, parallel, cache=cache)
                where[PEER] = stack.enter_context(serving(setup.peer, setup.path, load))
        for target in (*targets.values(), *others.values()):
            target.stream(2)
        for arm in list(targets)[:: -1 if run % 2 else 1]:
            talk = taking.take(arm, partial(script.run, targets[arm]))
            talks.setdefault(arm, []).append(talk)
            without = taking.take(f"{arm}, without reuse", partial(_without, others[arm], talk.middle))
            without_s.setdefault(arm, []).append(without)


def _without(target: Target, middle: str) -> float:
    return target.stream(1, f"{fresh_prompt().split()[0]} {middle}").first_token_s
