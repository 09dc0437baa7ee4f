"""A supervisor as an object: its calls are methods, its answers values, its failures exceptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from vramd_proto.v1 import (
    inference_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    supervisor_pb2,
    supervisor_pb2_grpc,
)

from vramd import channel, failures, replies, requests
from vramd.errors import Internal
from vramd.finding import PathLike, find
from vramd.requests import AnswerSettings, LoadSettings, Messages
from vramd.retry import Deadline, retrying
from vramd.stream import Feed, Incoming, Receiving, Stream
from vramd.values import (
    Device,
    Embeddings,
    Event,
    EventKind,
    LoadProgress,
    Model,
    Receipt,
    Rescan,
    ResidentModel,
    Status,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

Request_contra = TypeVar("Request_contra", contravariant=True)
Reply_co = TypeVar("Reply_co", covariant=True)


class _Unary(Protocol[Request_contra, Reply_co]):
    def __call__(
        self, request: Request_contra, timeout: float | None = None, metadata: channel.Metadata | None = None
    ) -> Reply_co: ...


class _Streaming(Protocol[Request_contra, Reply_co]):
    def __call__(
        self, request: Request_contra, timeout: float | None = None, metadata: channel.Metadata | None = None
    ) -> Incoming[Reply_co]: ...


class Client:
    """Calls to one supervisor. Use it in a `with` block, or `close` it; any number of threads may share it.

    It is found by its runtime folder: `runtime_dir`, else the user's own (VRAMD_RUNTIME_DIR); or by `address`
    (VRAMD_ADDRESS) with `token` or `token_file` (VRAMD_TOKEN). Raises SupervisorNotFound if there is none.

    Every method waits for its answer, except those that return a `Stream` or a `Feed`, and raises a subclass of
    `VramdError`. `timeout_s` limits a whole call, repetitions included; None takes that of the client, and None there
    leaves it to the supervisor. Calls that the supervisor could not begin to answer are made up to three times, when
    it says that waiting helps; `sleep` waits in between.
    """

    def __init__(
        self,
        runtime_dir: PathLike | None = None,
        *,
        address: str | None = None,
        token: str | None = None,
        token_file: PathLike | None = None,
        timeout_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        place = find(runtime_dir, address, token, token_file)
        self.address = place.address
        """host:port of the supervisor."""
        self.address_file = place.address_file
        """Lies there as long as the supervisor lives; None if it was found by an address of another place."""
        self._metadata = channel.metadata(place)
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._channel = grpc.insecure_channel(place.address, channel.OPTIONS)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._supervisor = supervisor_pb2_grpc.SupervisorServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the calls that still run, and the connection. Idempotent."""
        self._channel.close()

    def chat(
        self, model: str, messages: Messages, *, timeout_s: float | None = None, **settings: Unpack[AnswerSettings]
    ) -> Stream:
        """Answers a conversation, rendered with the model's own chat template. Loads the model if need be."""
        request = requests.chat(model, messages, settings)
        return Stream(model, self._receive(self._inference.Chat, request, self._limit_s(timeout_s)))

    def generate(
        self, model: str, prompt: str, *, timeout_s: float | None = None, **settings: Unpack[AnswerSettings]
    ) -> Stream:
        """Goes on with a prompt as it stands: no chat template. Loads the model if need be."""
        request = requests.generate(model, prompt, settings)
        return Stream(model, self._receive(self._inference.Generate, request, self._limit_s(timeout_s)))

    def embed(
        self,
        model: str,
        texts: str | Sequence[str],
        *,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> Embeddings:
        """One vector per text, in the order given; at most 1024 texts. Loads the model if need be."""
        request = requests.embed(model, texts, settings)
        return replies.embeddings(self._call(self._inference.Embed, request, timeout_s))

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
        """
        request = requests.tokenize(model, text, add_special, parse_special, settings)
        return tuple(self._call(self._inference.Tokenize, request, timeout_s).token_ids)

    def detokenize(
        self, model: str, token_ids: Iterable[int], *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> str:
        """Text of token ids; bytes that are no UTF-8 come as U+FFFD."""
        request = requests.detokenize(model, token_ids, settings)
        return self._call(self._inference.Detokenize, request, timeout_s).text

    def load(
        self,
        model: str,
        *,
        on_progress: Callable[[LoadProgress], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> ResidentModel:
        """Loads a model, or joins its load; returns when it is ready.

        `on_progress` is called from this thread for each step. Leaving the call, by an error or by `timeout_s`, does
        not stop the load.
        """
        request = model_pb2.LoadModelRequest(model=requests.name(model), load=requests.load_options(settings))
        messages = self._receive(self._models.LoadModel, request, self._limit_s(timeout_s))
        resident = None
        try:
            for message in messages:
                if on_progress is not None:
                    on_progress(replies.progress(message))
                if message.HasField("resident"):
                    resident = replies.resident(message.resident)
        finally:
            messages.cancel()
        if resident is None:
            raise Internal("INTERNAL", "the load ended without saying how")
        return resident

    def unload(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> Receipt:
        """Ends a model's process; returns when it is gone and its memory is back.

        Running requests may end first, unless `force`.
        """
        request = model_pb2.UnloadModelRequest(model=requests.name(model), force=force)
        return replies.receipt(self._call(self._models.UnloadModel, request, timeout_s).receipt)

    def models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Every model that vramd knows, loaded or not, by id."""
        reply = self._call(self._models.ListModels, model_pb2.ListModelsRequest(), timeout_s)
        return tuple(map(replies.model, reply.models))

    def model(self, model: str, *, timeout_s: float | None = None) -> Model:
        """One model, with its residency if it has a process or waits for one."""
        request = model_pb2.GetModelRequest(model=requests.name(model))
        reply = self._call(self._models.GetModel, request, timeout_s)
        return replies.model(reply.model, reply.resident if reply.HasField("resident") else None)

    def resident(self, *, timeout_s: float | None = None) -> tuple[ResidentModel, ...]:
        """The models that have a process, or wait for one."""
        return self.status(timeout_s=timeout_s).models

    def rescan(self, *, timeout_s: float | None = None) -> Rescan:
        """Looks into the folders of models again."""
        return replies.rescan(self._call(self._models.RescanModels, model_pb2.RescanModelsRequest(), timeout_s))

    def status(self, *, timeout_s: float | None = None) -> Status:
        """The supervisor, its devices and the resident models, at one moment."""
        return replies.status(self._call(self._supervisor.GetStatus, supervisor_pb2.GetStatusRequest(), timeout_s))

    def devices(self, *, timeout_s: float | None = None) -> tuple[Device, ...]:
        """Every device, counted or not."""
        reply = self._call(self._supervisor.ListDevices, supervisor_pb2.ListDevicesRequest(), timeout_s)
        return tuple(map(replies.device, reply.devices))

    def watch(
        self, kinds: Iterable[EventKind] = (), *, after_sequence: int = 0, timeout_s: float | None = None
    ) -> Feed[Event]:
        """What happens from now on; no kinds means all, `after_sequence` begins behind a remembered event.

        Goes on for ever; only a `timeout_s` of its own limits it.
        """
        messages = self._receive(self._supervisor.WatchEvents, requests.watch(kinds, after_sequence), timeout_s)
        return Feed(map(replies.event, messages), messages.cancel)

    def logs(
        self, model: str = "", *, lines: int = 100, follow: bool = False, timeout_s: float | None = None
    ) -> Feed[str]:
        """The last lines that a model's worker printed, or the supervisor; with `follow` also those to come.

        Only a `timeout_s` of its own limits it.
        """
        messages = self._receive(self._supervisor.TailLogs, requests.logs(model, lines, follow), timeout_s)
        return Feed((message.line for message in messages), messages.cancel)

    def shutdown(self, *, force: bool = False, timeout_s: float | None = None) -> None:
        """Asks the supervisor to end, with all its workers; returns when it has agreed, not when it is gone.

        Running requests may end first, unless `force`.
        """
        self._call(self._supervisor.Shutdown, supervisor_pb2.ShutdownRequest(force=force), timeout_s)

    def _limit_s(self, timeout_s: float | None) -> float | None:
        return self._timeout_s if timeout_s is None else timeout_s

    def _call(
        self, method: _Unary[Request_contra, Reply_co], request: Request_contra, timeout_s: float | None
    ) -> Reply_co:
        deadline = Deadline(self._limit_s(timeout_s))

        def attempt() -> Reply_co:
            try:
                return method(request, timeout=deadline.left_s(), metadata=self._metadata)
            except grpc.RpcError as error:
                raise failures.from_rpc(error) from error

        return retrying(deadline, self._sleep)(attempt)

    def _receive(
        self, method: _Streaming[Request_contra, Reply_co], request: Request_contra, timeout_s: float | None
    ) -> Receiving[Reply_co]:
        def begin(left_s: float | None) -> Incoming[Reply_co]:
            return method(request, timeout=left_s, metadata=self._metadata)

        return Receiving(begin, timeout_s, self._sleep)
