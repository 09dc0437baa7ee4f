"""A supervisor as an object: its calls are methods, its answers values, its failures exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar

from vramd import calls, values
from vramd.announcing import Announcing
from vramd.answer_values import Embeddings
from vramd.calls import Call
from vramd.connection import Connection
from vramd.errors import VramdError
from vramd.explaining import Explaining
from vramd.finding import PathLike, Search
from vramd.holding import Holding
from vramd.planning import Planning
from vramd.requests import AnswerSettings, AskSettings, LoadSettings, Messages
from vramd.retry import Attempts
from vramd.scheduling_values import Waiting
from vramd.selecting import Selecting
from vramd.stream import Receiving, Stream
from vramd.watching import Watching

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from vramd.replies import Piece

Value = TypeVar("Value")


class Client(Announcing, Explaining, Holding, Planning, Selecting, Watching):
    """Calls to one supervisor. Use it in a `with` block, or `close` it; any number of threads may share it.

    It is found by its runtime folder: `runtime_dir`, else the user's own (VRAMD_RUNTIME_DIR); or by `address`
    (VRAMD_ADDRESS) with `token` or `token_file` (VRAMD_TOKEN). Raises SupervisorNotFound if there is none.

    Every method waits for its answer, except those that return a `Stream`, a `Feed` or a `Hold`, and raises a subclass
    of `VramdError`. `timeout_s` limits a whole call, repetitions included; None takes that of the client, and None
    there leaves it to the supervisor. Calls that the supervisor could not begin to answer are made up to three times,
    when it says that waiting helps; `sleep` waits in between. If another supervisor has come in its place in the
    runtime folder, calls go to that one. After `close` every call raises ClientClosed. A forked child of the program
    makes a client of its own.

    >>> with vramd.Client() as client:
    ...     client.chat("talker", "Say hello.").text
    'Hello, you.'
    """

    def __init__(
        self,
        runtime_dir: PathLike | None = None,
        *,
        address: str | None = None,
        token: str | None = None,
        token_file: PathLike | None = None,
        timeout_s: float | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._connection = Connection(Search(runtime_dir, address, token, token_file), sleep)

    def __repr__(self) -> str:
        return f"<vramd.Client of {self.address}{', closed' if self._connection.is_closed else ''}>"

    @property
    def address(self) -> str:
        """host:port of the supervisor.

        >>> client.address.startswith("127.0.0.1:")
        True
        """
        return self._connection.place.address

    @property
    def address_file(self) -> Path | None:
        """Lies there as long as the supervisor lives; None if it was found by an address of another place.

        >>> client.address_file and client.address_file.name
        'supervisor.json'
        """
        return self._connection.place.address_file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the calls that still run, the callbacks, and the connection. Idempotent.

        >>> client = vramd.Client()
        >>> client.close()
        """
        self._listener.close()
        self._connection.close()

    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        on_waiting: Callable[[Waiting], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[AnswerSettings],
    ) -> Stream:
        """Answers a conversation, rendered with the model's own chat template. Loads the model if need be.

        `on_waiting` is called with what the call waits for, from the thread that reads the answer, before it begins.

        >>> for text in client.chat("talker", "Say hello.", max_tokens=40):
        ...     print(text, end="")
        Hello, you.
        >>> client.chat("talker", [("system", "You are brief."), ("user", "Say hello.")]).text
        'Hello, you.'
        """
        call = calls.chat(model, messages, settings, progress=on_waiting is not None)
        return self._answer(model, call, on_waiting, timeout_s)

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        on_waiting: Callable[[Waiting], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[AnswerSettings],
    ) -> Stream:
        """Goes on with a prompt as it stands: no chat template. Loads the model if need be; `on_waiting` as in `chat`.

        >>> client.generate("talker", "Once upon a", seed=1, stop="\\n").text
        ' time.'
        """
        call = calls.generate(model, prompt, settings, progress=on_waiting is not None)
        return self._answer(model, call, on_waiting, timeout_s)

    def embed(
        self, model: str, texts: str | Sequence[str], *, timeout_s: float | None = None, **settings: Unpack[AskSettings]
    ) -> Embeddings:
        """One vector per text, in the order given; at most 1024 texts. Loads the model if need be.

        >>> for vector in client.embed("reader", ["a cat", "a dog"]):
        ...     print(vector)
        (1.0, 0.0)
        (0.0, 1.0)
        """
        return self._ask(calls.embed(model, texts, settings), timeout_s)

    def tokenize(
        self,
        model: str,
        text: str,
        *,
        add_special: bool = False,
        parse_special: bool = False,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> tuple[int, ...]:
        """Token ids of a text.

        `add_special` adds what the model puts around a text by itself; `parse_special` reads the names of control
        tokens in the text as those tokens.

        >>> client.tokenize("talker", "Hello, you.")
        (15, 3, 42)
        """
        return self._ask(calls.tokenize(model, text, add_special, parse_special, settings), timeout_s)

    def detokenize(
        self, model: str, token_ids: Iterable[int], *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> str:
        """Text of token ids; bytes that are no UTF-8 come as U+FFFD.

        >>> client.detokenize("talker", (15, 3, 42))
        'Hello, you.'
        """
        return self._ask(calls.detokenize(model, token_ids, settings), timeout_s)

    def load(
        self,
        model: str,
        *,
        reload: bool = False,
        on_progress: Callable[[values.LoadProgress], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> values.ResidentModel:
        """Loads a model, or joins its load; returns when it is ready.

        `on_progress` is called from this thread for each step. Leaving the call, by an error or by `timeout_s`, does
        not stop the load. A model that is loaded with other settings is refused, unless `reload`: then it gets a new
        process with these, when what runs has ended.

        >>> client.load("talker", context=4096, on_progress=lambda step: print(step.state, step.progress)).pid
        LOADING 0.5
        READY None
        4711
        """
        steps = self._receive(calls.load(model, settings, reload), self._limit_s(timeout_s))
        step = None
        try:
            for step in steps:
                if on_progress is not None:
                    on_progress(step.progress)
        finally:
            steps.cancel()
        return calls.loaded(step)

    def unload(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> values.Receipt:
        """Ends a model's process; returns when it is gone and its memory is back.

        Running requests may end first, unless `force`.

        >>> receipt = client.unload("talker")
        >>> receipt.observed_bytes, receipt.expected_bytes
        (207618048, 209715200)
        """
        return self._ask(calls.unload(model, force), timeout_s)

    def restart(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> values.ResidentModel:
        """Gives a loaded model a new process with the same settings; returns when that is ready.

        Requests that wait for the model keep their place. Those that run may end first, unless `force`.

        >>> client.restart("talker").incarnation
        3
        """
        return self._ask(calls.restart(model, force), timeout_s)

    def update(
        self,
        model: str,
        *,
        pinned: bool | None = None,
        keep_alive_s: float | None = None,
        priority: Literal["interactive", "normal", "batch"] | None = None,
        timeout_s: float | None = None,
    ) -> values.Model:
        """Changes how long a model stays, and how urgent it is, until the supervisor ends; None leaves it as it is.

        A pinned model is never evicted, and never idle for too long. `keep_alive_s` are the seconds that it stays after
        its last use; 0 leaves at once, -1 stays. `priority` is that of calls which do not give one.

        >>> client.update("talker", pinned=True, keep_alive_s=600).pinned
        True
        """
        return self._ask(calls.update(model, pinned, keep_alive_s, priority), timeout_s)

    def models(self, *, timeout_s: float | None = None) -> tuple[values.Model, ...]:
        """Every model that vramd knows, loaded or not, by id.

        >>> [model.id for model in client.models()]
        ['reader', 'talker']
        """
        return self._ask(calls.models(), timeout_s)

    def model(self, model: str, *, timeout_s: float | None = None) -> values.Model:
        """One model, with its residency if it has a process or waits for one.

        >>> resident = client.model("talker").resident
        >>> resident and resident.state
        'READY'
        """
        return self._ask(calls.model(model), timeout_s)

    def resident(self, *, timeout_s: float | None = None) -> tuple[values.ResidentModel, ...]:
        """The models that have a process, or wait for one.

        >>> [(model.model, model.in_flight) for model in client.resident()]
        [('talker', 1)]
        """
        return self.status(timeout_s=timeout_s).models

    def rescan(self, *, timeout_s: float | None = None) -> values.Rescan:
        """Looks into the folders of models again.

        >>> client.rescan().added
        ('reader',)
        """
        return self._ask(calls.rescan(), timeout_s)

    def status(self, *, timeout_s: float | None = None) -> values.Status:
        """The supervisor, its devices and the resident models, at one moment.

        >>> client.status().supervisor.usable_cores
        2
        """
        return self._ask(calls.status(), timeout_s)

    def devices(self, *, timeout_s: float | None = None) -> tuple[values.Device, ...]:
        """Every device, counted or not.

        >>> [(device.id, device.free_bytes) for device in client.devices()]
        [('gpu0', 3221225472)]
        """
        return self._ask(calls.devices(), timeout_s)

    def shutdown(self, *, force: bool = False, timeout_s: float | None = None) -> None:
        """Asks the supervisor to end, with all its workers; returns when it has agreed, not when it is gone.

        Running requests may end first, unless `force`.

        >>> client.shutdown()
        """
        self._ask(calls.shutdown(force), timeout_s)

    def _limit_s(self, timeout_s: float | None) -> float | None:
        return self._timeout_s if timeout_s is None else timeout_s

    def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        answer = self._connection.ask(call, Attempts(self._limit_s(timeout_s)))
        if not isinstance(answer, VramdError):
            return answer
        try:
            raise answer
        finally:
            del answer  # it has this frame in its traceback

    def _answer(
        self, model: str, call: Call[Piece], on_waiting: Callable[[Waiting], None] | None, timeout_s: float | None
    ) -> Stream:
        attempts = Attempts(self._limit_s(timeout_s))
        return Stream(model, Receiving(self._connection, call, attempts, calls.before_answer(on_waiting)))

    def _receive(self, call: Call[Value], timeout_s: float | None) -> Receiving[Value]:
        return Receiving(self._connection, call, Attempts(timeout_s))
