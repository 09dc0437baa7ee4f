"""Exceptions of the calls: one class for each failure that a caller can act on.

Every class is a `VramdError`; where Python has a name for the same thing, it is that too (`except LookupError` catches
`NotFound`). Pure: no gRPC, no protobuf.
"""

from collections.abc import Mapping


class VramdError(Exception):
    """A call failed. `str(error)` says why, for people.

    `reason` is a name of the table of reasons, or the status code's name where the failure has none. `metadata` has the
    numbers and names of the message. `retry_after_s` is set where the same call may succeed later. `code` is the name
    of the gRPC status code; empty where no call was made.

    >>> try:
    ...     client.load("talker")
    ... except vramd.VramdError as error:
    ...     print(error.reason, error.code, error.retry_after_s)
    MODEL_NOT_FOUND NOT_FOUND None
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.code = code

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, {self.message!r})"

    def __reduce__(self) -> tuple[type["VramdError"], tuple[object, ...]]:
        return type(self), (self.reason, self.message, self.metadata, self.retry_after_s, self.code)


class InvalidRequest(VramdError, ValueError):
    """A field is missing or out of range; `metadata["field"]` names it.

    >>> try:
    ...     client.chat("talker", "Hi", temperature=-1).text
    ... except vramd.InvalidRequest as error:
    ...     print(error.metadata["field"])
    temperature
    """


class ConfigInvalid(InvalidRequest):
    """The configuration file is wrong, so nothing of it was taken in: `metadata` has `file`, `line` and `key`.

    >>> client.reload_config()
    Traceback (most recent call last):
    vramd.errors.ConfigInvalid: the configuration file is wrong, so nothing of it is taken in
    """


class PromptTooLong(InvalidRequest):
    """The prompt does not fit: shorten it, or load the model with more context.

    >>> try:
    ...     client.chat("talker", "…").text
    ... except vramd.PromptTooLong as error:
    ...     print(error.metadata["promptTokens"], error.metadata["contextTokens"])
    5000 4096
    """


class TokenRefused(VramdError, PermissionError):
    """The call carried no token, or that of another supervisor.

    >>> client.status()
    Traceback (most recent call last):
    vramd.errors.TokenRefused: the call carries no token
    """


class ScopeDenied(VramdError, PermissionError):
    """The token is for use only, and the call changes what is loaded or how the supervisor runs.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.ScopeDenied: the token is for use only, and the call is not
    """


class NotFound(VramdError, LookupError):
    """No model has this id.

    >>> try:
    ...     client.load("stranger")
    ... except vramd.NotFound:
    ...     client.rescan().added
    ('reader',)
    """


class FileMissing(NotFound):
    """The model is known, but its file is gone.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.FileMissing: the model's file is not there
    """


class FileUnusable(VramdError):
    """The model's file is damaged, or no regular file.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.FileUnusable: the model's path is no regular file
    """


class Unsupported(VramdError):
    """The model, or the llama.cpp that is installed, cannot do what was asked.

    >>> client.embed("talker", "a cat")
    Traceback (most recent call last):
    vramd.errors.Unsupported: this llama.cpp cannot run the model
    """


class ChatTemplateUnusable(Unsupported):
    """The model has no chat template, or it refuses these messages; `generate` works without one.

    >>> try:
    ...     client.chat("talker", "Once upon a").text
    ... except vramd.ChatTemplateUnusable:
    ...     client.generate("talker", "Once upon a").text
    ' time.'
    """


class TooLarge(VramdError, MemoryError):
    """A model, or a reservation, needs more than a device may ever give.

    A model may fit with fewer layers or less context; a larger budget helps both.

    >>> try:
    ...     client.load("talker")
    ... except vramd.TooLarge as error:
    ...     client.load("talker", context=2048).context_tokens
    4096
    """


class LoadedDifferently(VramdError):
    """The model is loaded with other settings than the call asks for: unload it first, or ask for nothing special.

    >>> try:
    ...     client.load("talker", context=2048)
    ... except vramd.LoadedDifferently as error:
    ...     print(error.metadata["differences"])
    context 4096
    """


class NotLoaded(VramdError):
    """There is nothing to unload.

    >>> client.unload("talker")
    Traceback (most recent call last):
    vramd.errors.NotLoaded: there is nothing to unload
    """


class EngineMissing(VramdError):
    """The model's engine is not installed; the message names the line that installs it.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.EngineMissing: the model's engine is not installed
    """


class DeviceUnusable(VramdError):
    """The device is unknown or cannot hold the model.

    >>> client.load("talker", device="gpu7")
    Traceback (most recent call last):
    vramd.errors.DeviceUnusable: the device is unknown or cannot hold the model
    """


class Exhausted(VramdError):
    """There is too little of something at this moment.

    >>> try:
    ...     client.load("talker")
    ... except vramd.Exhausted as error:
    ...     print(error.code)
    RESOURCE_EXHAUSTED
    """


class QueueFull(Exhausted):
    """Too many requests wait.

    >>> client.chat("talker", "Hi").text
    Traceback (most recent call last):
    vramd.errors.QueueFull: too many requests wait
    """


class MemoryExhausted(Exhausted, MemoryError):
    """A model or a reservation needs more memory than is free or can be freed now.

    `metadata["heldBy"]` names the holders.

    >>> try:
    ...     client.load("talker")
    ... except vramd.MemoryExhausted as error:
    ...     print(error.metadata["heldBy"], error.retry_after_s)
    reader 5.0
    """


class Unavailable(VramdError):
    """The same call may succeed later.

    >>> try:
    ...     client.load("talker")
    ... except vramd.Unavailable as error:
    ...     print(error.code)
    UNAVAILABLE
    """


class SupervisorUnreachable(Unavailable, ConnectionError):
    """Nothing answers at the supervisor's address.

    >>> with vramd.Client(address="127.0.0.1:1") as lost:
    ...     try:
    ...         lost.status()
    ...     except vramd.SupervisorUnreachable as error:
    ...         print(error.code)
    UNAVAILABLE
    """


class SupervisorNotFound(SupervisorUnreachable):
    """No supervisor runs in the runtime folder; the message says how to start one.

    >>> try:
    ...     vramd.Client("/nowhere")
    ... except vramd.SupervisorNotFound as error:
    ...     print("start one with: vramd serve" in str(error))
    True
    """


class StartFailed(VramdError):
    """A supervisor was started, but does not answer; `metadata["log"]` has the end of what it printed.

    >>> try:
    ...     vramd.Supervisor.start(serve=["no-such-command"])
    ... except vramd.StartFailed as error:
    ...     print(error.reason)
    START_FAILED
    """


class ShuttingDown(Unavailable):
    """The supervisor ends.

    >>> client.status()
    Traceback (most recent call last):
    vramd.errors.ShuttingDown: the supervisor ends
    """


class Draining(Unavailable):
    """The supervisor finishes what it has, and admits nothing new until it is undrained.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.Draining: the supervisor admits nothing new until it is undrained
    """


class LoadTimedOut(Unavailable, TimeoutError):
    """The load took too long and was ended.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.LoadTimedOut: the load took too long and was ended
    """


class WorkerCrashed(VramdError):
    """The model's process ended before or in the middle of the answer; what was received until then is true.

    >>> stream = client.chat("talker", "Hi")
    >>> try:
    ...     stream.text
    ... except vramd.WorkerCrashed as error:
    ...     print(error.metadata["exit"], repr(stream.received))
    SIGSEGV ''
    """


class Quarantined(VramdError):
    """Processes of the model died too often, or two died while they worked on this very request.

    `metadata["untilS"]` says for how many seconds it is refused; `Client.reset` ends that.

    >>> try:
    ...     client.chat("talker", "Hi").text
    ... except vramd.Quarantined as error:
    ...     client.reset("talker").state
    'UNLOADED'
    """


class Unloaded(VramdError):
    """The model was unloaded while the request ran or waited.

    >>> client.chat("talker", "Hi").text
    Traceback (most recent call last):
    vramd.errors.Unloaded: the model was unloaded while the request ran or waited
    """


class DeadlinePassed(VramdError, TimeoutError):
    """The call took longer than its `timeout_s`, or than the supervisor allows.

    >>> client.chat("talker", "Hi", timeout_s=60).text
    Traceback (most recent call last):
    vramd.errors.DeadlinePassed: the request took longer than it may
    """


class Cancelled(VramdError):
    """The call was ended by something else: its client was closed, or the supervisor gave it up.

    >>> client.load("talker")
    Traceback (most recent call last):
    vramd.errors.Cancelled: the caller read nothing of the answer for too long
    """


class ClientClosed(Cancelled):
    """The client was closed: before the call, or while it ran.

    >>> client.close()
    >>> client.status()
    Traceback (most recent call last):
    vramd.errors.ClientClosed: the client is closed
    """


class WrongContext(VramdError):
    """The client cannot be used here: in a forked child of its program, or in another event loop than its own.

    `reason` is FORKED, OTHER_EVENT_LOOP or NO_EVENT_LOOP. Make a client where it is used.

    >>> vramd.AsyncClient().chat("talker", "Hi")
    Traceback (most recent call last):
    vramd.errors.WrongContext: no event loop runs here, and an AsyncClient needs one: asyncio.run(main())
    """


class Unimplemented(VramdError, NotImplementedError):
    """The supervisor does not know this call: it is older than this client.

    >>> client.restart("talker")
    Traceback (most recent call last):
    vramd.errors.Unimplemented: given up
    """


class Internal(VramdError):
    """A fault of vramd; the supervisor's log says more under `metadata["incidentId"]`.

    >>> try:
    ...     client.load("talker")
    ... except vramd.Internal as error:
    ...     print(error.metadata["incidentId"])
    4f2a
    """
