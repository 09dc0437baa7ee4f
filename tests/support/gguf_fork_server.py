"""A process that has llama.cpp in it and forks for each file that is to be loaded: a hundredth of a worker's start."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HANGS_S = 60.0
"""A file of some kilobytes is loaded, and answers, in a fraction of a second."""
_MOST_BYTES = 8 << 30
_LOADED = b"+"


@dataclass(frozen=True)
class Outcome:
    """The end of one load: "answers", "refused", "killed", "hangs" or "breaks out", and how."""

    end: str
    how: str = ""


class ForkServer:
    """Ends with its block."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.gguf_fork_server"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        )

    def outcome(self, path: Path) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n".encode())
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _answer(path: str, loaded: Callable[[], object]) -> tuple[str, str]:
    """Loads a file as a worker does, and asks for all that a worker can be asked for."""
    from support.llama_engines import ask, detokenize, embed, spec, tokenize
    from vramd_worker.engine import EngineError, Job, Message
    from vramd_worker.llama import LlamaEngine

    engine = LlamaEngine(spec(Path(path), context_tokens=64, parallel=1), threads=1)
    try:
        engine.load(lambda _: None)
    except EngineError as error:
        return "refused", error.reason.name
    loaded()
    try:
        for prompt in ("the a", (Message("user", "the a"),)):
            answer = ask(engine, Job(prompt=prompt, max_tokens=3))
            assert answer.error or len(answer.token_ids) <= 3, answer
        embed(engine, ["the a"])
        detokenize(engine, tokenize(engine, "the a"))
    except EngineError:
        pass  # a file that is loaded may not be good for everything
    return "answers", ""


if sys.platform != "win32":  # which cannot fork
    import resource

    def _in_child(path: str) -> tuple[str, str]:
        reads, writes = os.pipe()
        if not (pid := os.fork()):
            os.close(reads)
            try:
                told = _answer(path, lambda: os.write(writes, _LOADED))
            except BaseException as error:
                told = ("breaks out", f"{type(error).__name__}: {error}")
            os.write(writes, json.dumps(told).encode())
            os._exit(0)
        os.close(writes)
        said, end_s = b"", time.monotonic() + HANGS_S
        while select.select([reads], [], [], max(0.0, end_s - time.monotonic()))[0] and (
            more := os.read(reads, 1 << 16)
        ):
            said += more
        os.close(reads)
        late = time.monotonic() > end_s
        if late:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        when = " after its load" if said.startswith(_LOADED) else ""
        if last := said.removeprefix(_LOADED):
            end, how = json.loads(last)
            return end, how
        if late:
            return "hangs", f"longer than {HANGS_S:g} s{when}"
        return "killed", f"{signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status}{when}"

    def _serve() -> None:
        # Imported and started once, for all children.
        import vramd_worker.llama.templates  # noqa: F401
        from vramd_worker.llama.load import start_engine

        start_engine(untested=False)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what the children print is no answer
        for line in sys.stdin:
            answers.write(json.dumps(_in_child(line.rstrip("\n"))) + "\n")
            answers.flush()

    if __name__ == "__main__":
        _serve()
