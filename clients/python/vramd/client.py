# Made by clients/python/generate_sync.py from async_client.py: change that one.
"""A supervisor as an object: its calls are methods, its answers values, its failures exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from vramd import calls, requests
from vramd.callbacks import Subscription, Topic
from vramd.calls import Call
from vramd.connection import Connection
from vramd.errors import VramdError
from vramd.finding import PathLike, Search, TlsFiles
from vramd.listener import Listener
from vramd.option_types import LoadSettings
from vramd.requests import Messages
from vramd.retry import Attempts
from vramd.settings import AnswerSettings, AskSettings
from vramd.stream import Feed, Hold, Replies, Stream
from vramd.transport import Callback, Sleep
from vramd.values.answers import Embeddings, Piece, Waiting
from vramd.values.configuration import Reloaded
from vramd.values.devices import Device, Drained, Reservation, StandingReservation, Status
from vramd.values.events import (
    Decision,
    Event,
    Evicted,
    LedgerChanged,
    ModelChanged,
    PressureChanged,
    QueueChanged,
    Thrashing,
)
from vramd.values.models import LoadProgress, Model, Receipt, Rescan, ResidentModel
from vramd.values.plans import Plan, Selection
from vramd.values.words import EventKind

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

Value = TypeVar("Value")


class Client:
    """Calls to one supervisor. Use it in a `with` block, or `client.close()`.

    Any number of threads may share it. A forked child of the program makes a client for itself.

    The supervisor is found by its runtime folder: `runtime_dir`, else the user's own (VRAMD_RUNTIME_DIR); or by
    `address` (VRAMD_ADDRESS) with `token` or `token_file` (VRAMD_TOKEN). When another supervisor has taken its place in
    the runtime folder, calls go to that one.

    Files in PEM make it TLS: `ca` (VRAMD_CA) has certificates of which the supervisor's must be one, or signed by one;
    `client_cert` and `client_key` (VRAMD_CLIENT_CERT, VRAMD_CLIENT_KEY) are for a supervisor that wants a client's. One
    that is found by its runtime folder needs no `ca`: its certificate lies there.

    `timeout_s` limits a whole call, retries included; None takes that of the client, and None there leaves it to the
    supervisor. Up to two retries follow where the supervisor could not begin to answer and says that waiting helps;
    `sleep` is used between attempts.

    Raises:
        SupervisorNotFound: There is none, when the client is made.
        InvalidRequest: Any call: an argument cannot be sent, or is out of range. An unknown setting is a TypeError.
        TokenRefused: Any call: the token is none, or that of another supervisor.
        ScopeDenied: Calls that load, unload, reserve, change or end something: the token is for use only.
        SupervisorUnreachable: Any call: nothing answers at the address.
        ShuttingDown: Any call: the supervisor ends.
        DeadlinePassed: Any call: it took longer than `timeout_s`, or than the supervisor allows.
        ClientClosed: Any call: the client is closed, or was while the call ran.
        WrongContext: Any call: the client cannot be used in this process.
        Unimplemented: Any call: the supervisor is older than this client.
        Internal: Any call: a fault of vramd.

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
        ca: PathLike | None = None,
        client_cert: PathLike | None = None,
        client_key: PathLike | None = None,
        timeout_s: float | None = None,
        sleep: Sleep | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        search = Search(runtime_dir, address, token, token_file, TlsFiles(ca, client_cert, client_key))
        self._connection = Connection(search, sleep)
        self._listener = Listener()

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
        """Exists as long as the supervisor lives; None if it was found by the address of another place.

        >>> client.address_file and client.address_file.name
        'supervisor.json'
        """
        return self._connection.place.address_file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the calls that still run, the callbacks, and the connection. Idempotent.

        >>> client = vramd.Client()
        >>> client.close()
        """
        self._listener.close()
        self._connection.close()

    # Answers.

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

        Returns at once; reading the stream waits. `on_waiting` is called, while the stream is read, with what the call
        waits for before its answer begins.

        If the model's process dies, the answer goes on in another one, behind the text that came; `on_waiting` hears
        what it waits for meanwhile. With `on_crash="fail"` it ends instead.

        Raises:
            PromptTooLong: The conversation is longer than the context, or than the supervisor takes.
            ChatTemplateUnusable: The model has no chat template, or it refuses these messages.
            Unsupported: The model gives embeddings only, or computes what is no number.
            QueueFull: Too many requests wait.
            WorkerCrashed: The model's process ended, and the answer could not go on in another one.
            Unloaded: The model was unloaded meanwhile.
            VramdError: What `load` raises, where the model has to be loaded first.

        >>> for text in client.chat("talker", "Say hello.", max_tokens=40):
        ...     print(text, end="")
        Hello, you.
        >>> client.chat("talker", [("system", "You are brief."), ("user", "Say hello.")]).text
        'Hello, you.'
        """
        request = requests.chat(model, messages, settings, progress=on_waiting is not None)
        return self._answer(model, calls.CHAT(request), on_waiting, timeout_s)

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        on_waiting: Callable[[Waiting], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[AnswerSettings],
    ) -> Stream:
        """Continues a prompt, without a chat template. Loads the model if need be; `on_waiting` as in `chat`.

        Raises:
            VramdError: What `chat` raises, except ChatTemplateUnusable.

        >>> client.generate("talker", "Once upon a", seed=1, stop="\\n").text
        ' time.'
        """
        request = requests.generate(model, prompt, settings, progress=on_waiting is not None)
        return self._answer(model, calls.GENERATE(request), on_waiting, timeout_s)

    def embed(
        self, model: str, texts: str | Sequence[str], *, timeout_s: float | None = None, **settings: Unpack[AskSettings]
    ) -> Embeddings:
        """One vector per text, in the order given; at most 1024 texts. Loads the model if need be.

        Raises:
            PromptTooLong: A text is longer than the context, or than the supervisor takes.
            Unsupported: The model gives no embeddings, or computes what is no number.
            QueueFull: Too many requests wait.
            WorkerCrashed: The model's process ended.
            Unloaded: The model was unloaded meanwhile.
            VramdError: What `load` raises, where the model has to be loaded first.

        >>> for vector in client.embed("reader", ["a cat", "a dog"]):
        ...     print(vector)
        (1.0, 0.0)
        (0.0, 1.0)
        """
        return self._ask(calls.EMBED(requests.embed(model, texts, settings)), timeout_s)

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
        """Token ids of a text. Loads the model if need be.

        `add_special` adds what the model puts around a text by itself; `parse_special` reads the names of control
        tokens in the text as those tokens.

        Raises:
            QueueFull: Too many requests wait.
            WorkerCrashed: The model's process ended.
            Unloaded: The model was unloaded meanwhile.
            VramdError: What `load` raises, where the model has to be loaded first.

        >>> client.tokenize("talker", "Hello, you.")
        (15, 3, 42)
        """
        request = requests.tokenize(model, text, add_special, parse_special, settings)
        return self._ask(calls.TOKENIZE(request), timeout_s)

    def detokenize(
        self, model: str, token_ids: Iterable[int], *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> str:
        """Text of token ids; bytes that are no UTF-8 come as U+FFFD. Loads the model if need be.

        Raises:
            VramdError: What `tokenize` raises.

        >>> client.detokenize("talker", (15, 3, 42))
        'Hello, you.'
        """
        return self._ask(calls.DETOKENIZE(requests.detokenize(model, token_ids, settings)), timeout_s)

    # Models: which there are, which are loaded, and which serves a task.

    def models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Every model that vramd knows, loaded or not, by id.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> [model.id for model in client.models()]
        ['reader', 'talker']
        """
        return self._ask(calls.LIST_MODELS(), timeout_s)

    def model(self, model: str, *, timeout_s: float | None = None) -> Model:
        """One model, with its residency if it has a process or waits for one.

        Raises:
            NotFound: No model has this id.

        >>> resident = client.model("talker").resident
        >>> resident and resident.state
        'READY'
        """
        return self._ask(calls.GET_MODEL(requests.model(model)), timeout_s)

    def resident(self, *, timeout_s: float | None = None) -> tuple[ResidentModel, ...]:
        """The models that have a process, or wait for one.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> [(model.model, model.in_flight) for model in client.resident()]
        [('talker', 1)]
        """
        return self.status(timeout_s=timeout_s).models

    def rescan(self, *, timeout_s: float | None = None) -> Rescan:
        """Looks into the folders of models again.

        Raises:
            Unavailable: A folder does not answer.

        >>> client.rescan().added
        ('reader',)
        """
        return self._ask(calls.RESCAN_MODELS(), timeout_s)

    def select(
        self,
        task: str,
        *,
        role: str = "",
        context: int = 0,
        prefer: Literal["light_now"] | None = None,
        timeout_s: float | None = None,
    ) -> Selection:
        """The best model for a task, and why. Loads nothing.

        What a model is good for is configured (`tasks`), else guessed from its file. `role` is that of the caller
        ("architect", "npc"), `context` the tokens of context that are needed at least. With `prefer="light_now"` a
        loaded model that suits is preferred to a better one that would have to be loaded.

        In a call, the model "task:code" is what `select("code")` says at that moment. An unknown task is for the
        general models.

        Raises:
            NotFound: No model serves.

        >>> selection = client.select("code_generation", role="architect")
        >>> selection.model, [other.model for other in selection.considered]
        ('coder', ['talker'])
        """
        return self._ask(calls.SELECT_MODEL(requests.select(task, role, context, prefer)), timeout_s)

    # Loads: what one would come to, and models that are loaded, kept, replaced and unloaded.

    def plan(self, model: str, *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]) -> Plan:
        """Says what a load would get, whether it fits, and what it would evict. Changes nothing.

        The need may have to be found out first, which can get seconds for a large file. What was true of the devices
        when it was asked may have changed when the load comes.

        Raises:
            NotFound: No model has this id, or its file is gone (FileMissing).
            FileUnusable: The file is damaged, or no regular file.
            Unsupported: The installed llama.cpp cannot run the model.
            EngineMissing: The model's engine is not installed.
            DeviceUnusable: The device is unknown, or cannot hold the model.
            Unavailable: The file does not answer.

        >>> plan = client.plan("talker", kv_type="q8_0")
        >>> plan.fits, [victim.model for victim in plan.victims]
        (True, ['reader'])
        """
        return self._ask(calls.PLAN_LOAD(requests.plan(model, settings)), timeout_s)

    def load(
        self,
        model: str,
        *,
        reload: bool = False,
        on_progress: Callable[[LoadProgress], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> ResidentModel:
        """Loads a model, or joins its load; returns when it is ready.

        `on_progress` is called for each step. Leaving the call, by an error or by `timeout_s`, does not stop the load.
        A model that is loaded with other settings is refused, unless `reload`: then it gets a new process with these,
        when what runs has ended.

        Raises:
            NotFound: No model has this id, or its file is gone (FileMissing).
            LoadedDifferently: It is loaded with other settings, and `reload` is not given.
            TooLarge: It needs more than a device may ever give.
            MemoryExhausted: It needs more than is free or can be made free now.
            QueueFull: Too many requests wait.
            FileUnusable: The file is damaged, or no regular file.
            Unsupported: The installed llama.cpp cannot run the model.
            EngineMissing: The model's engine is not installed.
            DeviceUnusable: The device is unknown, or cannot hold the model.
            LoadTimedOut: The load took longer than the supervisor allows, and was ended.
            WorkerCrashed: The process ended while it loaded.
            Unloaded: The model was unloaded meanwhile.
            Unavailable: The file does not answer.

        >>> loaded = client.load("talker", on_progress=lambda step: print(step.state, step.progress))
        LOADING 0.5
        READY None
        >>> loaded.pid
        4711
        """
        steps = self._receive(calls.LOAD_MODEL(requests.load(model, settings, reload)), self._limit_s(timeout_s))
        step = None
        try:
            for step in steps:
                if on_progress is not None:
                    on_progress(step.progress)
        finally:
            steps.cancel()
        return calls.loaded(step)

    def hold(
        self, model: str, *, label: str = "", timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> Hold:
        """Keeps a model warm as long as the hold lives: loaded, and not evicted. Does not wait: `Hold.ready` does.

        Only the `timeout_s` given here limits it. Several holds may be on the same model; what is held cannot make room
        for other models, so these may be refused with MemoryExhausted. `label` names the holder, in messages and
        listings.

        Raises:
            VramdError: What `load` raises, from reading the hold: when the model cannot be loaded, or not again.

        >>> with client.hold("talker", context=4096) as hold:
        ...     for step in hold:
        ...         print(step.state, step.message)
        ...         if step.state == "READY":
        ...             break
        LOADING talker is LOADING
        READY it is kept warm
        """
        return Hold(model, self._receive(calls.HOLD_MODEL(requests.hold(model, label, settings)), timeout_s))

    def unload(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> Receipt:
        """Ends a model's process; returns when it is gone and its memory is back.

        Running requests may end first, unless `force`.

        Raises:
            NotFound: No model has this id.
            NotLoaded: It has no process.

        >>> receipt = client.unload("talker")
        >>> receipt.observed_bytes, receipt.expected_bytes
        (207618048, 209715200)
        """
        return self._ask(calls.UNLOAD_MODEL(requests.unload(model, force)), timeout_s)

    def reset(self, model: str, *, timeout_s: float | None = None) -> Model:
        """Ends a model's quarantine: forgets the deaths of its processes, and that its file was refused.

        Raises:
            NotFound: No model has this id.

        >>> client.reset("talker").state
        'UNLOADED'
        """
        return self._ask(calls.RESET_MODEL(requests.reset(model)), timeout_s)

    def restart(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> ResidentModel:
        """Gives a loaded model a new process with the same settings; returns when that is ready.

        Requests that wait for the model keep their place. Those that run may end first, unless `force`.

        Raises:
            NotLoaded: It has no process that could be replaced.
            VramdError: What `load` raises, except LoadedDifferently.

        >>> client.restart("talker").worker_id
        3
        """
        return self._ask(calls.RESTART_MODEL(requests.restart(model, force)), timeout_s)

    def update(
        self,
        model: str,
        *,
        pinned: bool | None = None,
        keep_alive_s: float | None = None,
        priority: Literal["interactive", "normal", "batch"] | None = None,
        timeout_s: float | None = None,
    ) -> Model:
        """Changes how long a model stays, and how urgent it is, until the supervisor ends; None leaves it as it is.

        A pinned model is never evicted, and never idle for too long. `keep_alive_s` are the seconds that it stays after
        its last use; 0 leaves at once, -1 stays. `priority` is that of calls which do not give one.

        Raises:
            NotFound: No model has this id.

        >>> client.update("talker", pinned=True, keep_alive_s=600).pinned
        True
        """
        return self._ask(calls.UPDATE_MODEL(requests.update(model, pinned, keep_alive_s, priority)), timeout_s)

    # Memory that other programs are about to get.

    def reserve(
        self,
        size: str | int,
        *,
        device: str = "host",
        ttl_s: float = 60.0,
        label: str = "",
        timeout_s: float | None = None,
    ) -> Reservation:
        """Makes room for bytes that vramd's models do not get; returns when they are free.

        Idle models are evicted, least recently used first; busy ones are waited for. `size` is "1.5GiB" or a number of
        bytes. It ends by `release`, and after `ttl_s` by itself; at the latest with the supervisor.

        Raises:
            InvalidRequest: The size is none, or there is no such device.
            TooLarge: It is more than the device may ever give.
            MemoryExhausted: Pinned models, other reservations or other programs hold too much of the device.

        >>> reservation = client.reserve("1.5GiB", device="gpu0", ttl_s=60)
        >>> client.release(reservation)
        True
        """
        return self._ask(calls.reserve_memory(requests.reserve(size, device, ttl_s, label)), timeout_s)

    def release(self, reservation: Reservation | StandingReservation | int, *, timeout_s: float | None = None) -> bool:
        """Ends a reservation, given itself or by its id; says whether it stood until now. Twice is harmless.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> client.release(8)
        True
        """
        return self._ask(calls.RELEASE_MEMORY(requests.release(reservation)), timeout_s)

    def reservations(self, *, timeout_s: float | None = None) -> tuple[StandingReservation, ...]:
        """Every reservation that stands, of this program or another.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> [(one.id, one.label, one.left_s) for one in client.reservations()]
        [(8, 'game', 42.0)]
        """
        return self._ask(calls.LIST_RESERVATIONS(), timeout_s)

    # What happens, and why.

    def watch(
        self, kinds: Iterable[EventKind] = (), *, after_sequence: int | None = None, timeout_s: float | None = None
    ) -> Feed[Event]:
        """Events from now on; no kinds means all, `after_sequence` begins behind a remembered event.

        Behind 0 is the oldest that is remembered; None begins with the next that happens. The feed does not end by
        itself; only the `timeout_s` given here limits it.

        Raises:
            VramdError: What any call raises, from reading the feed: see `Client`.

        >>> with client.watch(["EVICTION"]) as events:
        ...     gone = next(events).detail
        >>> isinstance(gone, vramd.Evicted) and gone.cause
        'evicted_for_model'
        """
        return Feed(self._receive(calls.WATCH_EVENTS(requests.watch(kinds, after_sequence)), timeout_s), headed=True)

    @overload
    def on(self, topic: Literal["memory"], callback: Callback[LedgerChanged]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["model"], callback: Callback[ModelChanged]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["eviction"], callback: Callback[Evicted]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["release"], callback: Callback[Receipt]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["pressure"], callback: Callback[PressureChanged]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["queue"], callback: Callback[QueueChanged]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["thrash"], callback: Callback[Thrashing]) -> Subscription: ...

    def on(self, topic: Topic, callback: Callback[Any]) -> Subscription:
        """Calls back for what happens from now on, until the subscription is closed, or this client.

        All callbacks of a client share one thread: a slow one keeps the others waiting.
        One that raises is logged, and called again for the next event. When the supervisor ends,
        there is a warning in the log of `vramd`; the calls go on with the next supervisor that this client finds, and
        what happens until then is missed.

        Raises:
            VramdError: What any call raises, when events cannot be watched now: see `Client`.

        >>> subscription = client.on("memory", lambda change: print(change.devices[0].reserved_bytes))
        >>> subscription.close()
        """
        return self._listener.add(topic, callback, self.watch)

    def logs(
        self, model: str = "", *, lines: int = 100, follow: bool = False, timeout_s: float | None = None
    ) -> Feed[str]:
        """The last lines that a model's worker printed, or the supervisor; with `follow` also those to come.

        Only the `timeout_s` given here limits it.

        Raises:
            NotFound: No model has this id; from reading the feed.

        >>> [line for line in client.logs("talker", lines=2)]
        ['the model is ready', '2 tokens in 0.1 s']
        """
        return Feed(self._receive(calls.TAIL_LOGS(requests.logs(model, lines, follow)), timeout_s))

    def decisions(self, model: str = "", *, limit: int = 100, timeout_s: float | None = None) -> tuple[Decision, ...]:
        """Loads, evictions, refusals and degradations of a model, or of all; newest first, at most `limit`.

        They are kept when the supervisor ends: the last 20,000, if they are short.

        Raises:
            NotFound: The model is unknown, and nothing was decided about it.

        >>> for decision in client.decisions("reader", limit=1):
        ...     print(decision.kind, decision.for_whom, decision.numbers["lacking_bytes"])
        evict talker 54525952.0
        """
        return self._ask(calls.LIST_DECISIONS(requests.decisions(model, limit)), timeout_s)

    # The supervisor.

    def status(self, *, timeout_s: float | None = None) -> Status:
        """The supervisor, its devices and the resident models, at one moment.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> client.status().supervisor.usable_cores
        2
        """
        return self._ask(calls.GET_STATUS(), timeout_s)

    def devices(self, *, timeout_s: float | None = None) -> tuple[Device, ...]:
        """Every device, counted or not.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> [(device.id, device.free_bytes) for device in client.devices()]
        [('gpu0', 3221225472)]
        """
        return self._ask(calls.LIST_DEVICES(), timeout_s)

    def reload_config(self, *, check_only: bool = False, timeout_s: float | None = None) -> Reloaded:
        """Has the supervisor read its configuration file again; returns what has changed, and its effects.

        With `check_only` nothing is taken in. Models whose settings did not change keep their processes.

        Raises:
            ConfigInvalid: The file is wrong; nothing was taken in.
            VramdError: What any call raises: see `Client`.

        >>> [(change.key, change.effect) for change in client.reload_config().changes]
        [('scheduling.drain_s', 'applied')]
        """
        return self._ask(calls.RELOAD_CONFIG(requests.reload_config(check_only)), timeout_s)

    def drain(self, *, timeout_s: float | None = None) -> Drained:
        """Has the supervisor admit nothing new, and finish what it has; returns at once.

        New requests, loads, holds, restarts and reservations raise Draining from now on, and health says NOT_SERVING.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> client.drain()
        Drained(running=1, queued=0)
        """
        return self._ask(calls.DRAIN(), timeout_s)

    def undrain(self, *, timeout_s: float | None = None) -> None:
        """Has the supervisor admit work again.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> client.undrain()
        """
        self._ask(calls.UNDRAIN(), timeout_s)

    def shutdown(self, *, force: bool = False, timeout_s: float | None = None) -> None:
        """Asks the supervisor to end, with all its workers; returns when it has agreed, not when it is gone.

        Running requests may end first, unless `force`.

        Raises:
            VramdError: What any call raises: see `Client`.

        >>> client.shutdown()
        """
        self._ask(calls.SHUTDOWN(requests.shutdown(force)), timeout_s)

    # How calls are made.

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
        def is_preliminary(piece: Piece) -> bool:
            if piece.waiting is not None and on_waiting is not None:
                on_waiting(piece.waiting)
            return piece.waiting is not None

        return Stream(model, self._receive(call, self._limit_s(timeout_s), is_preliminary))

    def _receive(
        self, call: Call[Value], timeout_s: float | None, is_preliminary: Callable[[Value], bool] | None = None
    ) -> Replies[Value]:
        return Replies(self._connection, call, Attempts(timeout_s), is_preliminary)
