"""Asks a model's file held-out questions through the worker's own engine, and judges what it replies.

python -m demo_model.report {companion,coder,mathematician} FILE [replies]
"""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from vramd_common.sampling import Sampling
from vramd_worker.engine import EngineError, Job, Message, Piece
from vramd_worker.llama import LlamaEngine, LlamaSpec

from demo_model.domains import DOMAINS
from demo_model.judge import Report, judge
from demo_model.turns import Question

LIMIT_S = 60.0
"""Longer than any reply takes."""


def ask(path: Path, prompts: Sequence[str], context_tokens: int = 512) -> list[str]:
    """One reply to each prompt at temperature 0.7, top-p 0.95; the seed is the prompt's place. Raises EngineError."""
    spec = LlamaSpec(
        path=str(path),
        context_tokens=context_tokens,
        threads=2,
        device="host",
        parallel=1,
        batch_tokens=128,
        ubatch_tokens=128,
        gpu_layers=0,
        kv_type="f16",
    )
    engine = LlamaEngine(spec, spec.threads)
    engine.load(lambda _share: None)
    try:
        return [
            _reply(engine, Job((Message("user", prompt),), Sampling(temperature=0.7, top_p=0.95, seed=seed), 80))
            for seed, prompt in enumerate(prompts)
        ]
    finally:
        engine.close()


def _reply(engine: LlamaEngine, job: Job) -> str:
    pieces: list[Piece] = []
    errors: list[EngineError] = []
    ended = threading.Event()

    def emit(piece: Piece | EngineError) -> None:
        if isinstance(piece, EngineError):
            errors.append(piece)
            ended.set()
            return
        pieces.append(piece)
        if piece.finish is not None:
            ended.set()

    engine.generate(job, emit)
    if not ended.wait(LIMIT_S):
        raise TimeoutError(f"no reply after {LIMIT_S:g} s")
    if errors:
        raise errors[0]
    return "".join(piece.text for piece in pieces)


def tell(questions: Sequence[Question], replies: Sequence[str], report: Report, examples: int = 12) -> str:
    """The report in words: its figures, some replies, and each reply that failed."""
    lines = [
        f"replies            {report.replies}",
        f"well-formed        {report.well_formed}   (bar 90 of 100)",
        f"different          {report.different}   (bar 60 of 100)",
        f"the commonest      {report.most_often}   (bar 5 of 100)",
        f"right              {report.right}   (bar 70 of 100; by chance {report.right_by_chance})",
        f"repeats the values {report.keeps_values} of the {report.has_values} questions that name some",
        "",
    ]
    pairs = list(zip(questions, replies, strict=True))
    lines += [f"  {question.text}\n    {_indented(reply)}" for question, reply in pairs[:examples]]
    lines += [f"not well-formed: {_failed(*pair)}" for pair in pairs if not pair[0].is_well_formed(pair[1])]
    lines += [f"not right: {_failed(*pair)}" for pair in pairs if not pair[0].is_right(pair[1])]
    return "\n".join(lines)


def _indented(reply: str) -> str:
    return reply.replace("\n", "\n    ")


def _failed(question: Question, reply: str) -> str:
    return f"{question.text} | {reply}"


def main() -> int:
    """Prints the report of a file; 1 if it misses a bar."""
    domain, path = DOMAINS[sys.argv[1]], Path(sys.argv[2])
    questions = domain.questions(int(sys.argv[3]) if len(sys.argv) > 3 else 100)
    replies = ask(path, [question.text for question in questions])
    report = judge(questions, replies)
    print(tell(questions, replies, report))
    return 0 if report.passes else 1


if __name__ == "__main__":
    sys.exit(main())
