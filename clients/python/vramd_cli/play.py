"""The steps of the demo, all through the SDK. Nothing is made up; an `Audience` prints what happens."""

import hashlib
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vramd import Device, Evicted, Receipt, ResidentModel, Selection
from vramd.client import Client
from vramd.errors import VramdError
from vramd.supervisor import Supervisor

FOLDER = Path(__file__).with_name("demo_models")
MODEL_FILE = FOLDER / "companion.gguf"
CONTEXTS: Mapping[str, int] = {"short": 2048, "medium": 8192, "long": 16384}
"""The three entries are one file with different contexts, so they need different numbers of bytes."""
SPECIALIST_FILES: Mapping[str, Path] = {name: FOLDER / f"{name}.gguf" for name in ("coder", "mathematician")}
SPECIALIST_CONTEXT = 2048
TASKS: Mapping[str, str] = {
    "code": "Write a loop from 1 to 5 in Python.",
    "math": "What is 47 plus 35?",
    "dialogue": "Do you like trains?",
}
"""Task → prompt, for the step that names no model."""
SPARE_ROOM_BYTES = 8 << 20
"""Beside the two largest entries; too little for the third."""
READING_TOKENS_PER_S = 30.0
"""The speed at which a person reads."""
KILLED_TOKENS_PER_S = 4.0
"""Speed of the answer that goes on in another process: slow enough not to end before, on a busy machine too."""
CUT_OFF_TOKENS_PER_S = 2.0
"""Speed of the one that is cut off, while another one begins."""
PIECES_BEFORE_THE_MIDDLE = 3
TOKENS = 60
WAIT_S = 60.0
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Windows knows one way to end a process, and calls it SIGTERM."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Answer:
    model: str
    engine: str
    pid: int
    prompt: str
    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    """None: it was cut off."""
    error: str | None = None
    """The reason why it was cut off."""
    resumes: int = 0
    """Processes that it lost, and went on in another."""


@dataclass(frozen=True)
class Step:
    """One step of the demo, and the ledger after it."""

    title: str
    answers: tuple[Answer, ...]
    evicted: Evicted | None
    receipt: Receipt | None
    killed_pid: int | None
    chosen: Mapping[str, Selection]
    """For each task that no model was named for."""
    models: tuple[ResidentModel, ...]
    ledger: tuple[Device, ...]


@dataclass(frozen=True)
class Played:
    model_file: str
    sha256: str
    budget_bytes: int
    needs_bytes: Mapping[str, int]
    """Need of each entry, as the ledger had it."""
    steps: tuple[Step, ...]


class Audience:
    """Receives each event as it happens. This one ignores them all."""

    def begins(self, title: str) -> None:
        """A step begins."""

    def needs(self, needs_bytes: Mapping[str, int], budget_bytes: int) -> None:
        """The needs of the entries are known, and the budget that follows."""

    def asks(self, model: str, prompt: str) -> None:
        """A model is asked."""

    def hears(self, text: str) -> None:
        """A piece of its answer."""

    def killed(self, model: str, pid: int) -> None:
        """The process of a model has got SIGKILL, and its answer ends."""

    def interrupted(self, pid: int) -> None:
        """The process that gives the answer has got SIGKILL, and the answer goes on."""

    def ends(self, step: Step) -> None:
        """A step is over."""


class Stage:
    """A supervisor, with its evictions and releases as they are reported."""

    def __init__(self, client: Client, audience: Audience) -> None:
        self.client = client
        self.audience = audience
        self._news = threading.Condition()
        self._evicted: list[Evicted] = []
        self._released: list[Receipt] = []
        client.on("eviction", lambda evicted: self._hear(self._evicted, evicted))
        client.on("release", lambda receipt: self._hear(self._released, receipt))

    def _hear(self, heard: list[Value], value: Value) -> None:
        with self._news:
            heard.append(value)
            self._news.notify_all()

    def pid(self, model: str) -> int:
        return next(resident.pid or 0 for resident in self.client.resident() if resident.model == model)

    def answer(
        self,
        model: str,
        prompt: str,
        in_the_middle: Callable[[], None] = lambda: None,
        temperature: float | None = None,
        tokens_per_s: float = READING_TOKENS_PER_S,
    ) -> Answer:
        """Asks a model or a task, for the audience to hear; calls `in_the_middle` during the answer."""
        self.audience.asks(model, prompt)
        with self.client.chat(
            model, prompt, temperature=temperature, max_tokens=TOKENS, max_tokens_per_s=tokens_per_s
        ) as stream:
            for number, piece in enumerate(stream, start=1):
                self.audience.hears(piece)
                if number == PIECES_BEFORE_THE_MIDDLE:
                    in_the_middle()
        assert stream.timeline is not None
        usage, timeline = stream.finish.usage, stream.timeline
        engine, pid = self.client.model(timeline.model).engine, self.pid(timeline.model)
        tokens = usage.prompt_tokens, usage.completion_tokens
        return Answer(timeline.model, engine, pid, prompt, stream.text, *tokens, resumes=timeline.resumes)

    def step(
        self,
        title: str,
        answers: tuple[Answer, ...],
        *,
        swapped: bool = False,
        killed_pid: int | None = None,
        chosen: Mapping[str, Selection] | None = None,
    ) -> Step:
        """Ends a step with the current ledger; after a swap with the victim and its receipt."""
        evicted = receipt = None
        if swapped:
            with self._news:
                assert self._news.wait_for(lambda: self._evicted, WAIT_S), "nothing was evicted"
                evicted = self._evicted.pop()
                gone = evicted.worker_id
                assert self._news.wait_for(lambda: any(r.worker_id == gone for r in self._released), WAIT_S)
                receipt = next(r for r in self._released if r.worker_id == gone)
        status = self.client.status()
        done = Step(title, answers, evicted, receipt, killed_pid, chosen or {}, status.models, status.devices)
        self.audience.ends(done)
        return done


def play(audience: Audience) -> Played:
    """Plays all steps, within a minute. Raises VramdError."""
    needs_bytes = _measure(audience)
    largest = sorted(needs_bytes.values())[-2:]
    budget_bytes = sum(largest) + SPARE_ROOM_BYTES
    audience.needs(needs_bytes, budget_bytes)
    with _supervisor({"host": budget_bytes}) as client:
        stage = Stage(client, audience)
        steps = (_load_two(stage), _swap(stage), _kill(stage), _again(stage), _survive(stage), _route(stage))
    digest = hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()
    return Played(MODEL_FILE.name, digest, budget_bytes, needs_bytes, steps)


def _measure(audience: Audience) -> dict[str, int]:
    audience.begins("What do the three models need?")
    with _supervisor({}) as client:
        return {model: client.load(model).reserved_bytes for model in CONTEXTS}


def _load_two(stage: Stage) -> Step:
    title = "Two models fit: each gets a process of its own"
    stage.audience.begins(title)
    answers = (stage.answer("short", "Good morning!"), stage.answer("medium", "Do you like music?"))
    return stage.step(title, answers)


def _swap(stage: Stage) -> Step:
    title = "The third does not fit: the least recently used one has to go"
    stage.audience.begins(title)
    return stage.step(title, (stage.answer("long", "What do you think about rain?"),), swapped=True)


def _kill(stage: Stage) -> Step:
    """Kills a model in the middle of an answer that shall not go on, while another one answers."""
    title = "A process is killed while another one answers"
    stage.audience.begins(title)
    prompt = "Tell me about your favourite game."
    pid = stage.pid("medium")
    speaks = threading.Event()
    cut_off: list[Answer] = []
    victim = threading.Thread(target=lambda: cut_off.append(_until_cut_off(stage, prompt, pid, speaks)))
    victim.start()
    assert speaks.wait(WAIT_S), "the victim did not begin"
    witness = stage.answer("long", "Can you recommend a book?", in_the_middle=lambda: os.kill(pid, KILL))
    victim.join(WAIT_S)
    stage.audience.killed("medium", pid)
    return stage.step(title, (witness, *cut_off), killed_pid=pid)


def _until_cut_off(stage: Stage, prompt: str, pid: int, speaks: threading.Event) -> Answer:
    stream = stage.client.chat(
        "medium", prompt, max_tokens=TOKENS, max_tokens_per_s=CUT_OFF_TOKENS_PER_S, on_crash="fail"
    )
    engine, error = stage.client.model("medium").engine, None
    try:
        for _ in stream:
            speaks.set()
    except VramdError as failure:
        error = failure.reason
    return Answer("medium", engine, pid, prompt, stream.received, None, None, error)


def _again(stage: Stage) -> Step:
    title = "The next call loads the killed model anew"
    stage.audience.begins(title)
    return stage.step(title, (stage.answer("medium", "Are you still there?"),))


def _survive(stage: Stage) -> Step:
    """Kills a model in the middle of its sentence, which goes on in another process."""
    title = "A process is killed in the middle of a sentence, and the sentence finishes"
    stage.audience.begins(title)
    pid = stage.pid("medium")

    def kill() -> None:
        os.kill(pid, KILL)
        stage.audience.interrupted(pid)

    prompt = "What do you do on a rainy day?"
    answer = stage.answer("medium", prompt, in_the_middle=kill, tokens_per_s=KILLED_TOKENS_PER_S)
    return stage.step(title, (answer,), killed_pid=pid)


def _route(stage: Stage) -> Step:
    """Asks for tasks instead of models; what a model is good for is guessed from its file."""
    title = "Three tasks without a model's name: each goes to the one that is made for it"
    stage.audience.begins(title)
    chosen: dict[str, Selection] = {}
    answers: list[Answer] = []
    for task, prompt in TASKS.items():
        chosen[task] = stage.client.select(task)
        # Code and sums are no place for chance.
        temperature = None if task == "dialogue" else 0.0
        answers.append(stage.answer(f"task:{task}", prompt, temperature=temperature))
    return stage.step(title, tuple(answers), chosen=chosen)


@contextmanager
def _supervisor(budgets: Mapping[str, str | int]) -> Iterator[Client]:
    """Runs a supervisor on the machine's RAM, isolated from the user's configuration."""
    for name in [name for name in os.environ if name.startswith("VRAMD_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="vramd-demo-") as folder:
        # The user's supervisor must not learn from the demo.
        os.environ["VRAMD_STATE_DIR"] = folder
        config = Path(folder) / "demo.toml"
        entries = [_entry(name, MODEL_FILE, context) for name, context in CONTEXTS.items()]
        entries += [_entry(name, path, SPECIALIST_CONTEXT) for name, path in SPECIALIST_FILES.items()]
        config.write_text("\n".join(entries), "utf-8")
        with Supervisor.start(config=config, budgets=budgets) as supervisor:
            yield supervisor.client


def _entry(name: str, path: Path, context: int) -> str:
    return f"[models.{name}]\npath = {str(path)!r}\ncontext = {context}\ndevice = 'host'\n"
