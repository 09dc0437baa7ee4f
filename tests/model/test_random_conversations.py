"""Conversations at random: with branches, cancels, and more of them than the memory holds."""

import gc
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from support.gguf_models import Shape, random_llama
from support.llama_engines import Answer, ask, loaded, spec, start
from vramd_common.sampling import Sampling
from vramd_worker.engine import FinishReason, Job, Task
from vramd_worker.llama import LlamaEngine

pytest.importorskip("llama_cpp")

from support.logits import Logits

CONTEXT = 512
AT_ONCE = 4
GREEDY = Sampling(temperature=0)
WORDS = ("rain", "the book", "music all day", "a game", "good morning", "what do you think about that?")
INTRODUCTION = "You are a very good friend, and you like long walks. "
MOST_GROWTH_BYTES = 16 << 20
"""Of the long form: pools that fill up late, and what numbers of test and Python take."""


@dataclass
class Conversation:
    """What was said so far; it may go back to what was said before."""

    dice: random.Random
    owner: str
    turns: list[str] = field(default_factory=list)

    def job(self) -> Job:
        dice = self.dice
        if self.turns and dice.random() < 0.3:
            del self.turns[dice.randrange(len(self.turns)) :]
        said = self.turns[-1] if self.turns else INTRODUCTION * dice.randrange(3)
        prompt = f"{said} {dice.choice(WORDS)}\n"
        session = self.owner if dice.random() < 0.5 else ""
        tokens = dice.randrange(1, 25)
        return Job(prompt, GREEDY, tokens, scope=self.owner[0], session=session, shared=dice.random() < 0.2)

    def take(self, job: Job, answer: Answer) -> None:
        assert isinstance(job.prompt, str)
        self.turns.append(job.prompt + answer.text)


@dataclass
class Told:
    job: Job
    tokens: list[int]


class Talk:
    """Many conversations on one engine, a few at a time."""

    def __init__(self, engine: LlamaEngine, conversations: int) -> None:
        self._engine = engine
        self._dice = random.Random(conversations)
        self._left = conversations
        self._growing: list[Conversation] = []
        self.cached = self.asked = 0

    def rounds(self) -> Iterator[list[Told]]:
        """Yields what was answered at once."""
        while self._left or self._growing:
            while self._left and len(self._growing) < AT_ONCE + 2:
                self._left -= 1
                self._growing.append(Conversation(self._dice, self._dice.choice("ab") + str(self._left)))
            talking = self._dice.sample(self._growing, self._dice.randrange(1, len(self._growing) + 1))
            yield list(self._round(talking))
            for one in talking:
                if len(one.turns) > 4 or sum(map(len, one.turns[-1:])) > CONTEXT - 120:
                    self._growing.remove(one)

    def _round(self, talking: list[Conversation]) -> Iterator[Told]:
        begun: list[tuple[Conversation, Job, Answer, Task]] = []
        for one in talking:
            job = one.job()
            begun.append((one, job, *start(self._engine, job)))
        for one, job, answer, task in begun:
            if self._dice.random() < 0.2:
                if self._dice.random() < 0.7:
                    answer.wait_for_pieces(1)
                task.cancel()
                continue
            finish = answer.wait().finish
            self.asked += finish.prompt_tokens
            self.cached += finish.cached_prompt_tokens
            one.take(job, answer)
            yield Told(job, answer.token_ids)


@pytest.mark.parametrize("kv_split", [False, True], ids=["one memory", "one for each"])
@pytest.mark.parametrize("conversations", [12, pytest.param(1000, marks=(pytest.mark.long, pytest.mark.timeout(3600)))])
def test_what_is_said_hangs_on_nothing_that_is_kept(conversations: int, kv_split: bool, tmp_path: Path) -> None:
    path = random_llama(tmp_path / "rambler.gguf", Shape(embedding=128, layers=2, feed_forward=256))
    cells = CONTEXT * AT_ONCE if kv_split else 3 * CONTEXT // 2
    wanted = spec(path, context_tokens=cells, kv_split=kv_split)
    model, alone, resident = Logits(path), 0, list[int]()
    with loaded(wanted, parallel=AT_ONCE) as engine, loaded(spec(path, context_tokens=cells)) as other:
        talk = Talk(engine, conversations)
        for told in talk.rounds():
            for one in told:
                alone += 1
                asked_alone = Job(one.job.prompt, GREEDY, one.job.max_tokens, scope=f"{alone}")
                assert isinstance(one.job.prompt, str)
                model.same_or_nearly(engine, one.job.prompt, one.tokens, ask(other, asked_alone).token_ids)
            gc.collect()
            resident.append(psutil.Process().memory_info().rss)
        assert talk.cached > talk.asked / 4
        whole = ask(engine, Job("c" * 20, GREEDY)).finish
        assert whole.reason is FinishReason.LENGTH
        assert whole.prompt_tokens + whole.completion_tokens == (CONTEXT if kv_split else cells), "no cell is lost"
    print(f"{talk.cached} of {talk.asked} tokens of prompts were cached")
    if conversations >= 1000:
        assert resident[-1] - resident[len(resident) // 4] < MOST_GROWTH_BYTES
