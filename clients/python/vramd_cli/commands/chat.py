"""`vramd chat`: a conversation, turn by turn."""

import contextlib
import importlib
import secrets
import sys
from typing import cast

import click
from typing_extensions import Unpack
from vramd import (
    AnswerSettings,
    ChatTemplateUnusable,
    Client,
    InvalidRequest,
    LoadSettings,
    PromptTooLong,
    Stream,
    VramdError,
)
from vramd.settings import LOAD_FIELDS

from .. import INTERRUPTED, output
from ..connection import with_started_client
from ..conversation import Conversation, Turn
from ..parameters import HeadedCommand, ModelId
from ..settings import answer_flags, load_flags, reload_flag, timeout_flag
from .select import model_of

MOST_RESERVED_TOKENS = 512
"""Context reserved for an answer without a length limit; a quarter of the context if that is less."""

EXIT = "/exit"
LEAVE = ("/bye", EXIT, "/quit")
SYSTEM = "/set system"
MANY_LINES = '"""'
HELP = """\
/bye              end (or Ctrl-D)
/clear            forget the talk; what the model is told first stays
/set system TEXT  say what the model is told first; nothing: no more
\"\"\"               begin a message of several lines, and end it"""


@click.command("chat", cls=HeadedCommand, short_help="Talk with a model.")
@click.argument("model", type=ModelId())
@click.option("--system", metavar="TEXT", help="What the model is told first.")
@answer_flags
@reload_flag
@load_flags
@timeout_flag
@with_started_client
def chat(
    client: Client,
    model: str,
    system: str | None,
    reload: bool,
    timeout_s: float | None,
    **settings: Unpack[AnswerSettings],
) -> None:
    """Talks with MODEL: each line is a message; \"\"\" begins and ends one of several lines. Ctrl-C stops an answer.

    On a terminal /bye or Ctrl-D ends, /clear forgets the talk, /set system TEXT says what the model is told first, and
    /help lists this. From a pipe each line is a message, /exit ends, and only the answers are printed.

    The oldest messages are dropped when the context is full, and it is said how many; that of --system stays.
    """
    if reload:
        reload_model(client, model, timeout_s, settings)
    converse(client, model, system, timeout_s, settings)


def reload_model(client: Client, model: str, timeout_s: float | None, settings: AnswerSettings) -> None:
    """Restarts the model with these settings if it is loaded with others. Raises VramdError."""
    client.load(model, reload=True, timeout_s=timeout_s, **_load_settings(settings))


def _load_settings(settings: AnswerSettings) -> LoadSettings:
    return cast("LoadSettings", {name: value for name, value in settings.items() if name in LOAD_FIELDS})


def converse(client: Client, model: str, system: str | None, timeout_s: float | None, settings: AnswerSettings) -> None:
    """Runs a conversation until the user ends it. Raises VramdError."""
    model = model_of(client, model, settings, timeout_s)
    if not client.model(model).has_chat_template:
        words = f"{model} has no chat template; a text can be gone on with: vramd run {model} TEXT"
        raise ChatTemplateUnusable("CHAT_TEMPLATE_UNUSABLE", words, {"model": model})
    talk = Talk(client, model, system, timeout_s, settings)
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):  # Windows edits lines without it
            importlib.import_module("readline")
    while (text := _read(interactive)) is not None and text not in (LEAVE if interactive else (EXIT,)):
        try:
            if interactive and text.startswith("/") and _obey(talk, text):
                continue
            if text and not talk.turn(text) and not interactive:
                sys.exit(INTERRUPTED)
        except VramdError as error:
            if not interactive:
                raise
            output.failed(f"{error} ({error.reason})")
        except KeyboardInterrupt:  # before there was an answer to stop
            if not interactive:
                raise
            click.echo()


class Talk:
    def __init__(
        self, client: Client, model: str, system: str | None, timeout_s: float | None, settings: AnswerSettings
    ) -> None:
        """Loads the model; its context is known then."""
        self._client = client
        self._model = model
        self._timeout_s = timeout_s
        own = AnswerSettings(session=f"chat-{secrets.token_hex(8)}")
        self._settings = settings if settings.get("session") else settings | own
        self._load = _load_settings(settings)
        with output.progress(model) as line:
            resident = client.load(model, on_progress=line.step, timeout_s=timeout_s, **self._load)
        self._context_tokens = resident.context_tokens or 0
        self._conversation = Conversation(None)
        self.tell(system)

    def tell(self, system: str | None) -> None:
        """Sets the system message, or removes it. Raises VramdError."""
        self._conversation.tell(Turn("system", system, self._count(system)) if system else None)

    def clear(self) -> None:
        self._conversation.clear()

    def turn(self, text: str) -> bool:
        """Prints the answer as it comes; False if Ctrl-C stopped it. A partial answer stays in the conversation.

        Raises VramdError and leaves the conversation unchanged.
        """
        self._conversation.say(text, self._count(text))
        try:
            stream, first = self._ask()
        except BaseException:
            self._conversation.take_back()
            raise
        with stream:
            try:
                output.answer(first, stream)
            except KeyboardInterrupt:
                stream.cancel()
            except VramdError:
                self._conversation.take_back()
                raise
        return self._note(stream)

    def _count(self, text: str) -> int:
        return len(self._client.tokenize(self._model, text, timeout_s=self._timeout_s, **self._load))

    def _ask(self) -> tuple[Stream, str]:
        """Starts an answer and returns its stream and first text. Drops old turns until the prompt fits."""
        dropped = 0
        if self._context_tokens:
            dropped = self._conversation.fit(self._context_tokens - self._reserved_tokens())
        while True:
            messages = self._conversation.messages
            with output.waiting(self._model) as on_waiting:
                stream = self._client.chat(
                    self._model, messages, on_waiting=on_waiting, timeout_s=self._timeout_s, **self._settings
                )
                try:
                    first = next(stream, "")
                    break
                except PromptTooLong as error:
                    self._context_tokens = int(error.metadata.get("contextTokens", self._context_tokens))
                    gone = self._conversation.drop_oldest()
                    if not gone:
                        raise
                    dropped += gone
                except KeyboardInterrupt:
                    stream.cancel()
                    first = ""
                    break
        if dropped:
            fits = f"the context holds {self._context_tokens} tokens"
            output.say(f"({dropped} of the oldest messages were dropped: {fits})", err=True)
        return stream, first

    def _reserved_tokens(self) -> int:
        return self._settings.get("max_tokens") or min(MOST_RESERVED_TOKENS, self._context_tokens // 4)

    def _note(self, stream: Stream) -> bool:
        """Adds the answer to the conversation; False if it was stopped."""
        finish = stream.finish
        if finish.reason != "CANCELLED":
            self._conversation.learn(finish.usage.prompt_tokens)
            if finish.reason == "LENGTH":
                output.say("(the answer was cut off: its limit, or the context, was reached)", err=True)
        if stream.received:
            self._conversation.answered(stream.received, len(stream.token_ids))
        else:
            self._conversation.take_back()
        return finish.reason != "CANCELLED"


def _obey(talk: Talk, text: str) -> bool:
    """Executes a line that begins with a slash; False if it is an ordinary message. Raises VramdError."""
    word = text.split(maxsplit=1)[0]
    if text == "/clear":
        talk.clear()
        click.echo("(forgotten)", err=True)
    elif text == SYSTEM or text.startswith(f"{SYSTEM} "):
        talk.tell(text.removeprefix(SYSTEM).strip().strip('"'))
        click.echo("(the model is told so)", err=True)
    elif text in ("/help", "/?"):
        for line in HELP.split("\n"):
            output.say(line, err=True)
    elif word[1:].isalpha() and word in (text, "/set"):
        output.say(f"(there is no {word}; /help lists what there is)", err=True)
    else:
        return False
    return True


def _read(interactive: bool) -> str | None:
    """Reads the next message and strips it; None at the end of input."""
    while True:
        try:
            text = input("> " if interactive and sys.stdout.isatty() else "").strip()
            return _read_on(text.removeprefix(MANY_LINES)) if interactive and text.startswith(MANY_LINES) else text
        except EOFError:
            if interactive:
                click.echo()
            return None
        except UnicodeDecodeError as error:
            raise InvalidRequest("FIELD_INVALID", f"stdin is no UTF-8 text: {error}", {"field": "messages"}) from error
        except KeyboardInterrupt:
            if not interactive:
                raise
            click.echo("\n(Ctrl-D or /bye ends)", err=True)


def _read_on(text: str) -> str:
    """Reads the rest of a message of several lines."""
    lines = [text]
    while not lines[-1].rstrip().endswith(MANY_LINES):
        lines.append(input("... " if sys.stdout.isatty() else ""))
    return "\n".join(lines).rstrip().removesuffix(MANY_LINES).strip()
