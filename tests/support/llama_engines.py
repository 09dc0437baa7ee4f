"""Loaded engines for tests, and how to ask them something and wait for the answer."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from vramd_worker.engine import EngineError, Finish, Job, Piece, Task, Vectors
from vramd_worker.llama import LlamaEngine, LlamaSpec
from vramd_worker.llama.tasks import LlamaTask

LIMIT_S = 30.0
"""Longer than anything here takes; a wait that reaches it has failed."""


@dataclass
class Answer:
    """What a job gave, as it comes in."""

    pieces: list[Piece] = field(default_factory=list)
    error: EngineError | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    on_piece: Callable[[Piece], None] | None = None
    """Called in the engine's thread with each piece."""

    def emit(self, piece: Piece | EngineError) -> None:
        if self.on_piece is not None and isinstance(piece, Piece):
            self.on_piece(piece)
        with self.changed:
            if isinstance(piece, Piece):
                self.pieces.append(piece)
            else:
                self.error = piece
            self.changed.notify_all()

    def wait(self) -> "Answer":
        """Waits for the end."""
        self._wait_for(lambda: self.error is not None or any(piece.finish for piece in self.pieces))
        return self

    def wait_for_pieces(self, count: int) -> None:
        self._wait_for(lambda: len(self.pieces) >= count)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, LIMIT_S), f"no answer; so far {self.pieces}"

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def token_ids(self) -> list[int]:
        return [token for piece in self.pieces for token in piece.token_ids]

    @property
    def finish(self) -> Finish:
        assert self.error is None, self.error
        assert [bool(piece.finish) for piece in self.pieces] == [False] * (len(self.pieces) - 1) + [True]
        finish = self.pieces[-1].finish
        assert finish is not None
        return finish


def start(engine: LlamaEngine, job: Job, on_piece: Callable[[Piece], None] | None = None) -> tuple[Answer, Task]:
    answer = Answer(on_piece=on_piece)
    return answer, engine.generate(job, answer.emit)


def ask(engine: LlamaEngine, job: Job) -> Answer:
    return start(engine, job)[0].wait()


class Gate:
    """Holds an engine's thread at the first piece of an answer: how quick the test's thread is has no part in what is
    computed together."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def __call__(self, _piece: object) -> None:
        self._reached.set()
        assert self._open.wait(LIMIT_S)

    def wait(self) -> None:
        """Waits until the engine is held."""
        assert self._reached.wait(LIMIT_S)

    def open(self, engine: LlamaEngine, *tasks: Task) -> None:
        """Lets the engine go on, once it has got these tasks."""
        end_s = time.monotonic() + LIMIT_S
        # A task that is known to the thread that computes is handed to it within the step of the thread before it.
        while not all(map(_is_known, tasks)) or engine.activities()[0].at_work:
            assert time.monotonic() < end_s, "the prompts were not read"
            time.sleep(0.001)
        self._open.set()


def _is_known(task: Task) -> bool:
    assert isinstance(task, LlamaTask)
    return task.on_cancel is not None


def start_together(engine: LlamaEngine, jobs: Sequence[Job]) -> list[Answer]:
    """Starts jobs of which none is computed before the engine has got them all."""
    gate = Gate()
    start(engine, Job("", max_tokens=1), gate)
    gate.wait()
    started = [start(engine, job) for job in jobs]
    gate.open(engine, *(task for _, task in started))
    return [answer for answer, _ in started]


def drop(engine: LlamaEngine, task: Task) -> None:
    """Cancels, and returns when no step of it is computed any more."""
    task.cancel()
    ask(engine, Job("", max_tokens=1))


Told = TypeVar("Told")


def answer_to(ask: Callable[[Callable[[Told], None]], Task]) -> Told:
    """What is called back with."""
    answers: list[Told] = []
    answered = threading.Event()

    def done(answer: Told) -> None:
        answers.append(answer)
        answered.set()

    ask(done)
    assert answered.wait(LIMIT_S)
    return answers[0]


def embed(engine: LlamaEngine, texts: Sequence[str]) -> Vectors | EngineError:
    answer: Vectors | EngineError = answer_to(partial(engine.embed, texts))
    return answer


def tokenize(engine: LlamaEngine, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
    answer: Sequence[int] | EngineError = answer_to(partial(engine.tokenize, text, add_special, parse_special))
    if isinstance(answer, EngineError):
        raise answer
    return list(answer)


def detokenize(engine: LlamaEngine, token_ids: Sequence[int]) -> bytes:
    answer: bytes | EngineError = answer_to(partial(engine.detokenize, token_ids))
    if isinstance(answer, EngineError):
        raise answer
    return answer


def spec(
    path: Path,
    *,
    context_tokens: int = 1024,
    batch_tokens: int = 64,
    kv_type: str = "f16",
    outputs: int = 0,
    flash_attention: str = "auto",
    swa_full: bool = False,
    kv_split: bool = False,
    untested: bool = False,
    parallel: int = 4,
    warm_prompt: str = "",
) -> LlamaSpec:
    return LlamaSpec(
        path=str(path),
        threads=1,
        device="host",
        parallel=parallel,
        context_tokens=context_tokens,
        batch_tokens=batch_tokens,
        ubatch_tokens=batch_tokens,
        gpu_layers=0,
        kv_type=kv_type,
        outputs=outputs,
        flash_attention=flash_attention,
        swa_full=swa_full,
        kv_split=kv_split,
        untested=untested,
        warm_prompt=warm_prompt,
    )


@contextmanager
def loaded(wanted: LlamaSpec, parallel: int = 4) -> Iterator[LlamaEngine]:
    engine = LlamaEngine(replace(wanted, parallel=parallel), threads=1)
    engine.load(lambda _share: None)
    try:
        yield engine
    finally:
        engine.close()
