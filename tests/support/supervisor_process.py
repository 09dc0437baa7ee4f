"""A real supervisor: `vramd serve` in a runtime folder of its own, clients for it, and all that it tells of itself."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
import psutil
import vramd
from support.wire import CHANNEL_OPTIONS, Caller
from vramd_common.rendezvous import Address, RuntimeDir

BOUND_S = 30.0
"""Nothing here takes this long, unless it hangs."""

POLL_S = 0.01

CARD = '[devices.card]\nkind = "virtual"\ntotal = "8GiB"\n'
"""A device that models of tests declare their bytes on."""

Value = TypeVar("Value")


def until(what: str, look: Callable[[], Value | None], bound_s: float = BOUND_S) -> Value:
    """Looks again and again until there is something to see; fails if there is nothing within the bound."""
    end_s = time.monotonic() + bound_s
    while not (seen := look()):
        assert time.monotonic() < end_s, f"not within {bound_s:g} s: {what}"
        time.sleep(POLL_S)
    return seen


def virtual(device: str, total: str) -> str:
    """The table of a device that is a number of bytes."""
    return CARD.replace("card", device).replace("8GiB", total)


def simulated(model: str, card: str = "1GiB", host: str = "60MiB", *, device: str = "card", **settings: object) -> str:
    """The table of a simulated model in the configuration; quick, unless told otherwise. `card` is for `device`."""
    given = {"load_s": 0.1, "tokens_per_s": 500, **settings}
    keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    memory = ", ".join(f'{where} = "{size}"' for where, size in (("host", host), (device, card)) if size)
    return f'[models.{model}]\nengine = "simulated"\nmemory = {{ {memory} }}\n{keys}'


@contextlib.contextmanager
def busy(client: vramd.Client, model: str) -> Iterator[vramd.Stream]:
    """A model at work from the first word of an answer on, for a minute or longer at the pace of a slow one.

    The answer ends with its process.
    """
    with client.generate(model, "x", max_tokens=2000, on_crash="fail") as answer:
        next(answer)
        yield answer


def queued(client: vramd.Client, model: str) -> int:
    found = client.model(model).resident
    return found.queued if found else 0


class Story:
    """What a supervisor has told since its start, read by a thread as it comes."""

    def __init__(self, feed: vramd.Feed[vramd.Event]) -> None:
        self.events: list[vramd.Event] = []
        self.end: vramd.VramdError | None = None
        """Why nothing more comes, unless it was ended from here."""
        self._feed = feed
        self._changed = threading.Condition()
        self.over = False
        """Nothing more comes."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for event in self._feed:
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except vramd.VramdError as error:
            self.end = error
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def until(self, what: str, holds: Callable[[Sequence[vramd.Event]], Value | None]) -> Value:
        """Waits until the events so far say so."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or holds(self.events), BOUND_S)
            seen = holds(self.events)
        assert seen, f"not told: {what}; but: {[event.detail for event in self.events[-20:]]}, then {self.end}"
        return seen

    def reached(self, model: str, state: str, times: int = 1) -> vramd.ModelChanged:
        """Waits until a model has come into a state for so many times."""
        return self.until(
            f"{model} {state} for {times} times",
            lambda _: found[times - 1] if len(found := self.changes(model, state)) >= times else None,
        )

    def waits(self, model: str, count: int, behind: vramd.ModelChanged) -> None:
        """Waits until so many have waited for a model at a moment behind a change, however short that moment was."""

        def told(events: Sequence[vramd.Event]) -> bool:
            details = [event.detail for event in events]
            later = details[details.index(behind) :]
            counts = [one.queued for one in later if isinstance(one, vramd.QueueChanged) and one.model == model]
            return count in counts

        self.until(f"{count} wait for {model}", told)

    def changes(self, model: str, state: str) -> list[vramd.ModelChanged]:
        """The times that a model came into a state."""
        return [c for c in self.details(vramd.ModelChanged) if (c.model, c.after) == (model, state)]

    def moment(self, model: str, state: str, times: int = 1) -> float:
        """When a model came into a state for the nth time, in Unix time; waits for it."""
        change = self.reached(model, state, times)
        return next(event.time_s for event in self.events if event.detail is change)

    def began(self, *models: str, ready: str = "") -> list[str]:
        """Which of these were loaded, load by load; waits until `ready` has come."""
        if ready:
            self.reached(ready, "READY")
        changes = self.details(vramd.ModelChanged)
        return [change.model for change in changes if change.model in models and change.after == "LOADING"]

    def evictions(self, *models: str, ready: str = "") -> list[tuple[str, str | None]]:
        """Which of these had to go, and for whom, in that order; waits until `ready` has come."""
        if ready:
            self.reached(ready, "READY")
        gone = self.details(vramd.Evicted)
        return [(evicted.model, evicted.for_model) for evicted in gone if evicted.model in models]

    def most_at_once(self, *models: str) -> int:
        """How many of these had a process at one moment, at most."""
        there: set[str] = set()
        most = 0
        for change in self.details(vramd.ModelChanged):
            if change.model in models:
                (there.discard if change.after in {"UNLOADED", "QUEUED"} else there.add)(change.model)
                most = max(most, len(there))
        return most

    def details(self, kind: type[Value]) -> list[Value]:
        return [event.detail for event in list(self.events) if isinstance(event.detail, kind)]

    def __enter__(self) -> "Story":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._feed.cancel()
        self._reader.join(BOUND_S)


class SupervisorProcess:
    """Gone when its `with` ends, with all its workers, clients and files."""

    def __init__(
        self,
        configuration: str = "",
        *,
        runtime_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = ("--port", "0"),
        cwd: Path | None = None,
        owned: bool = False,
    ) -> None:
        """`owned` gives it a pipe as stdin, whose end is its end."""
        # The system's limit for the path of a socket is below the length of many a test's folder.
        self.own = Path(tempfile.mkdtemp(prefix="vs"))
        self.folder = RuntimeDir(runtime_dir or self.own / "run")
        self.configuration = self.own / "vramd.toml"
        self.configuration.write_text(configuration, "utf-8")
        self._printed = self.own / "printed"
        self._clients: list[vramd.Client] = []
        self._channels: list[grpc.Channel] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VRAMD_", "PYTHON"))}
        with self._printed.open("wb") as out:
            self.process = subprocess.Popen(
                self._command((*arguments, "--owned") if owned else arguments),
                stdin=subprocess.PIPE if owned else subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=cwd or self.own,
                env={**kept, "VRAMD_STATE_DIR": str(self.own / "state"), **(environment or {})},
            )

    def _command(self, arguments: Sequence[str]) -> list[str]:
        files = ("--config", str(self.configuration), "--runtime-dir", str(self.folder.path))
        return [sys.executable, "-m", "vramd", "serve", *files, *arguments]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def printed(self) -> str:
        return self._printed.read_text("utf-8", "replace")

    @property
    def log(self) -> str:
        return (self.folder.logs / "supervisor.log").read_text("utf-8")

    def ready(self) -> "SupervisorProcess":
        """Waits until it can be found. One that was killed may have left its address file in the same folder."""

        def told() -> bool:
            found = Address.read(self.folder.address_file)
            return found is not None and found.pid == self.pid

        until("an address file", lambda: told() or self.process.poll() is not None)
        assert self.process.poll() is None, self.printed
        return self

    @property
    def address(self) -> Address:
        found = Address.read(self.ready().folder.address_file)
        assert found is not None
        return found

    def client(self) -> vramd.Client:
        """Closed with this supervisor. It repeats calls as any client does, but without waiting in between."""
        return self._kept(vramd.Client(self.ready().folder.path, sleep=lambda _: None))

    def stranger(self, token: str) -> vramd.Client:
        """A client that has the address and this token, and has never seen the runtime folder."""
        return self._kept(vramd.Client(address=self.address.address, token=token))

    def caller(self) -> Caller:
        """The generated stubs, for what clients have no word for. Closed with this supervisor."""
        channel = grpc.insecure_channel(self.address.address, CHANNEL_OPTIONS)
        self._channels.append(channel)
        return Caller(channel, self.folder.token_file.read_text("utf-8").strip())

    def clear(self, by: vramd.Client | None = None) -> None:
        """Has every model go, whatever it does."""
        client = by or self.client()

        def cleared() -> bool:
            for one in (found := [one for one in client.resident() if one.state != "QUARANTINED"]):
                with contextlib.suppress(vramd.NotLoaded):  # it only waited, or has left by itself
                    client.unload(one.model, force=True)
            return not found

        until("no model is left", cleared)

    def _kept(self, client: vramd.Client) -> vramd.Client:
        self._clients.append(client)
        return client

    @contextlib.contextmanager
    def story(self) -> Iterator[Story]:
        """All its events but the very first one."""
        client = vramd.Client(self.ready().folder.path)
        with client, Story(client.watch(after_sequence=1)) as story:
            yield story

    @contextlib.contextmanager
    def news(self) -> Iterator[Story]:
        """All its events from now on."""
        client = vramd.Client(self.ready().folder.path)
        with client, client.watch() as feed, Story(feed) as story:
            yield story

    def workers(self) -> list[psutil.Process]:
        """Every process below it, zombies too."""
        return psutil.Process(self.pid).children(recursive=True)

    def sockets(self) -> list[Path]:
        """Of its workers, where they lie in the runtime folder."""
        folder = self.folder.path / "sockets"
        return sorted(folder.iterdir()) if folder.exists() else []

    def heard(self, text: str) -> None:
        """Waits until it has printed this."""
        until(f"{text!r} printed", lambda: text in self.printed)

    def exit_code(self, bound_s: float = BOUND_S) -> int:
        return self.process.wait(bound_s)

    def end(self, bound_s: float = BOUND_S) -> int:
        """Ends it in order, at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            # Another number: two of one kind may come as one.
            self.process.send_signal(signal.SIGINT)
        return self.exit_code(bound_s)

    def __enter__(self) -> "SupervisorProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for client in self._clients:
            client.close()
        for channel in self._channels:
            channel.close()
        try:
            self.end()
        finally:
            self.process.kill()
            self.process.wait(BOUND_S)
            if kind is not None:
                print(self.printed)
            shutil.rmtree(self.own, ignore_errors=True)
