"""Asks the companion's file held-out prompts through the worker's own engine, and judges what it replies.

python -m demo_model.report companion.gguf [replies]
"""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from vramd_worker.engine import EngineError, Job, Message, Piece, Sampling
from vramd_worker.llama import LlamaEngine, LlamaSpec

from demo_model.dialogues import HeldOut, held_out_prompts
from demo_model.judge import Report, is_well_formed, judge, takes_up

LIMIT_S = 60.0
"""Longer than any reply takes."""


def ask(path: Path, prompts: Sequence[str], context_tokens: int = 512) -> list[str]:
    """One reply to each prompt at temperature 0.7, top-p 0.95; the seed is the prompt's place. Raises EngineError."""
    spec = LlamaSpec(
        path=str(path),
        context_tokens=context_tokens,
        batch_tokens=128,
        ubatch_tokens=128,
        gpu_layers=0,
        kv_type="f16",
    )
    engine = LlamaEngine(spec, threads=2, parallel=1)
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


def tell(prompts: Sequence[HeldOut], replies: Sequence[str], report: Report, examples: int = 12) -> str:
    """The report in words: its figures, some replies, and each reply that failed."""
    lines = [
        f"replies            {report.replies}",
        f"well-formed        {report.well_formed}   (bar 90 of 100)",
        f"different          {report.different}   (bar 60 of 100)",
        f"the commonest      {report.most_often}   (bar 5 of 100)",
        f"on topic           {report.on_topic}   (bar 70 of 100; by chance {report.on_wrong_topic})",
        f"names the slot     {report.keeps_values} of the {report.has_values} prompts with a feeling, time or name",
        "",
    ]
    pairs = list(zip(prompts, replies, strict=True))
    lines += [f"  {prompt.text}\n    {reply}" for prompt, reply in pairs[:examples]]
    lines += [f"not well-formed: {prompt.text} | {reply}" for prompt, reply in pairs if not is_well_formed(reply)]
    lines += [f"not on topic: {prompt.text} | {reply}" for prompt, reply in pairs if not takes_up(reply, prompt.topic)]
    return "\n".join(lines)


def main() -> int:
    """Prints the report of a file; 1 if it misses a bar."""
    path = Path(sys.argv[1])
    prompts = held_out_prompts(int(sys.argv[2]) if len(sys.argv) > 2 else 100)
    replies = ask(path, [prompt.text for prompt in prompts])
    report = judge(prompts, replies)
    print(tell(prompts, replies, report))
    return 0 if report.passes else 1


if __name__ == "__main__":
    sys.exit(main())
