"""`vramd chat`: what is said, what is kept of it, and how it is stopped."""

import os
import select
import sys
from pathlib import Path

import pytest
from support.command_line import Shell, environment, posix
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer, known, resident
from vramd_cli.conversation import Conversation, Turn
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2


def test_the_oldest_turns_go_first_and_the_system_stays() -> None:
    talk = Conversation(Turn("system", "be brief", 10))
    for number in range(3):
        talk.say(f"question {number}", 10)
        talk.answered(f"answer {number}", 20)
    talk.say("last", 10)
    assert talk.fit(1000) == 0
    talk.learn(10 + 3 * 30 + 10 + 8 * 2)  # the template takes two tokens per turn
    assert talk.fit(126) == 0
    assert talk.fit(125) == 2
    assert [text for _, text in talk.messages] == [
        "be brief",
        "question 1",
        "answer 1",
        "question 2",
        "answer 2",
        "last",
    ]
    assert talk.fit(0) == 4
    assert talk.messages == [("system", "be brief"), ("user", "last")]
    assert talk.drop_oldest() == 0


def test_a_question_without_an_answer_is_taken_back() -> None:
    talk = Conversation(None)
    talk.take_back()
    talk.say("question", 1)
    talk.answered("answer", 1)
    talk.take_back()
    talk.say("another", 1)
    talk.take_back()
    assert talk.messages == [("user", "question"), ("assistant", "answer")]


@pytest.fixture
def fake(fake: FakeSupervisor) -> FakeSupervisor:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known()))
    fake.script("LoadModel", model_pb2.LoadModelResponse(resident=resident()))
    fake.script("Tokenize", inference_pb2.TokenizeResponse(token_ids=range(10)))
    return fake


@pytest.fixture
def chat(shell: Shell) -> Shell:
    return lambda stdin, *arguments: shell("chat", "talker", *arguments, stdin=stdin)


def said(fake: FakeSupervisor) -> list[list[tuple[str, str]]]:
    calls = []
    for request in fake.requests("Chat"):
        assert isinstance(request, inference_pb2.ChatRequest)
        calls.append([(turn.role, turn.parts[0].text) for turn in request.messages])
    return calls


def test_each_line_of_a_pipe_is_a_turn(fake: FakeSupervisor, chat: Shell) -> None:
    fake.script("Chat", *answer("Hel", "lo."))
    fake.script("Chat", *answer("Fine."))
    done = chat("Hi\n\n  How are you? \n", "--system", "Be brief.")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Hello.\nFine.\n", "")
    assert said(fake) == [
        [("system", "Be brief."), ("user", "Hi")],
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "How are you?")],
    ]


def test_the_turns_of_a_conversation_have_one_name(fake: FakeSupervisor, chat: Shell) -> None:
    def sessions(*flags: str) -> set[str]:
        before = len(fake.requests("Chat"))
        for _ in range(2):
            fake.script("Chat", *answer("Hello."))
        assert chat("Hi\nAnd?\n", *flags).exit_code == 0
        asked = fake.requests("Chat")[before:]
        return {request.session for request in asked if isinstance(request, inference_pb2.ChatRequest)}

    (one,), (other,) = sessions(), sessions()
    assert one and other and one != other
    assert sessions("--session", "tea") == {"tea"}


def test_exit_ends_it(fake: FakeSupervisor, chat: Shell) -> None:
    fake.script("Chat", *answer("Hello."))
    assert chat("Hi\n/exit\nnever asked\n").exit_code == 0
    assert len(said(fake)) == 1


def test_flags_arrive_with_every_call(fake: FakeSupervisor, chat: Shell) -> None:
    fake.script("Chat", *answer("Hello."))
    assert chat("Hi\n", "--seed", "3", "--max-tokens", "9", "--context", "512").exit_code == 0
    asked = fake.request(inference_pb2.ChatRequest)
    assert (asked.sampling.seed, asked.limits.max_tokens, asked.load.context_tokens) == (3, 9, 512)
    for method in ("LoadModel", "Tokenize"):
        (request,) = fake.requests(method)
        assert isinstance(request, model_pb2.LoadModelRequest | inference_pb2.TokenizeRequest)
        assert request.load.context_tokens == 512


def test_old_turns_are_dropped_when_the_next_would_not_fit(tmp_path: Path, chat: Shell) -> None:
    small = resident()
    small.context_tokens = 100
    usage = inference_pb2.Usage(prompt_tokens=10, completion_tokens=30)  # the template takes nothing
    end = inference_pb2.Finish(reason=inference_pb2.FINISH_REASON_LENGTH, usage=usage)
    with FakeSupervisor(tmp_path / "run") as fake:
        fake.script("GetModel", model_pb2.GetModelResponse(model=known()))
        fake.script("LoadModel", model_pb2.LoadModelResponse(resident=small))
        fake.script("Tokenize", inference_pb2.TokenizeResponse(token_ids=range(10)))
        fake.script("Chat", inference_pb2.ChatResponse(text="long", token_ids=range(30), finish=end))
        done = chat("one\ntwo\nthree\n")
        # A quarter of the 100 is for the answer; the third question would make it 10 + 30 + 10 + 30 + 10.
        assert said(fake)[1:] == [
            [("user", "one"), ("assistant", "long"), ("user", "two")],
            [("user", "two"), ("assistant", "long"), ("user", "three")],
        ]
    cut = "(the answer was cut off: its limit, or the context, was reached)"
    dropped = "(2 of the oldest messages were dropped: the context holds 100 tokens)"
    assert done.stderr.splitlines() == [cut, cut, dropped, cut]


def test_a_prompt_that_was_judged_too_short_is_shortened_again(fake: FakeSupervisor, chat: Shell) -> None:
    fake.script("Chat", *answer("Hello."))
    fake.script("Chat", Refusal(Reason.CONTEXT_OVERFLOW, metadata={"promptTokens": "99", "contextTokens": "64"}))
    fake.script("Chat", *answer("Fine."))
    done = chat("one\ntwo\n")
    assert (done.exit_code, done.stdout) == (0, "Hello.\nFine.\n")
    assert done.stderr == "(2 of the oldest messages were dropped: the context holds 64 tokens)\n"
    assert said(fake)[-1] == [("user", "two")]


def test_a_message_that_never_fits_is_an_error(fake: FakeSupervisor, chat: Shell) -> None:
    fake.script("Chat", Refusal(Reason.CONTEXT_OVERFLOW, message="too long"))
    done = chat("one\n")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "vramd: too long (CONTEXT_OVERFLOW)\n")


def test_an_error_in_the_middle_of_a_pipe_is_exit_1(fake: FakeSupervisor, chat: Shell) -> None:
    fake.script("Chat", answer("Hel")[0], Refusal(Reason.WORKER_CRASHED_MID_STREAM, message="it was killed"))
    done = chat("one\ntwo\n")
    assert (done.exit_code, done.stdout) == (1, "Hel\n")
    assert done.stderr == "vramd: it was killed (WORKER_CRASHED_MID_STREAM)\n"


def test_what_is_no_text(fake: FakeSupervisor, chat: Shell) -> None:
    done = chat(b"\xff\n")
    assert done.exit_code == 1
    assert "UTF-8" in done.stderr


def test_a_model_that_cannot_chat(chat: Shell, tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path / "run") as fake:
        fake.script("GetModel", model_pb2.GetModelResponse(model=known(chats=False)))
        done = chat("Hi\n")
    assert done.exit_code == 1
    assert done.stderr.startswith("vramd: talker has no chat template")


@posix
def test_on_a_terminal_ctrl_c_stops_the_answer_and_keeps_the_talk(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Chat", answer("Hel")[0], wait)
    fake.script("Chat", Refusal(Reason.WORKER_CRASHED, message="it was killed"))
    fake.script("Chat", *answer("Fine."))
    terminal = Terminal(fake.folder.path, "chat", "talker")
    terminal.until(b"> ")
    terminal.type(b"Hi\n")
    terminal.until(b"Hel")
    assert wait.reached.wait(BOUND_S)
    terminal.type(b"\x03")
    assert wait.left.wait(BOUND_S)
    terminal.until(b"> ")
    terminal.press_until(b"\x03", b"(Ctrl-D or /bye ends)")
    terminal.type(b"again\n")
    terminal.until(b"vramd: it was killed (WORKER_CRASHED)")
    terminal.type(b"once more\n")
    terminal.until(b"Fine.")
    terminal.until(b"> ")
    terminal.type(b"\x04")
    assert terminal.end() == 0
    assert said(fake)[1:] == [
        [("user", "Hi"), ("assistant", "Hel"), ("user", "again")],
        [("user", "Hi"), ("assistant", "Hel"), ("user", "once more")],
    ]


@posix
def test_on_a_terminal_a_slash_says_what_to_do(fake: FakeSupervisor) -> None:
    """In `run` without a prompt, which is the same."""
    for text in ("First.", "Second.", "Third."):
        fake.script("Chat", *answer(text))
    terminal = Terminal(fake.folder.path, "run", "talker")
    for typed, shown in (
        ("one", "First."),
        ("/help", "/clear"),
        ("/unknown", "there is no /unknown"),
        ("/clear", "(forgotten)"),
        ("/etc/hosts is a file", "Second."),
        ("/set system Be brief.", "the model is told so"),
        ('"""two\nlines"""', "Third."),
    ):
        terminal.until(b"> ")
        terminal.type(f"{typed}\n".encode())
        terminal.until(shown.encode())
    terminal.until(b"> ")
    terminal.type(b"/bye\n")
    assert terminal.end() == 0
    talk = [("user", "/etc/hosts is a file"), ("assistant", "Second."), ("user", "two\nlines")]
    assert said(fake)[1:] == [talk[:1], [("system", "Be brief."), *talk]]


class Terminal:
    """A command on its own terminal, with keys to press."""

    _pid: int
    _screen: int

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._seen = b""
        if sys.platform != "win32":
            import pty

            self._pid, self._screen = pty.fork()
            if self._pid == 0:
                command = [sys.executable, "-m", "vramd", *arguments]
                os.execve(command[0], command, environment(folder, TERM="dumb"))

    def until(self, text: bytes) -> None:
        """Reads on until this stands there; what stands before is not looked at again."""
        while text not in self._seen:
            assert select.select([self._screen], [], [], 3 * BOUND_S)[0], f"no {text!r} in {self._seen!r}"
            self._seen += os.read(self._screen, 4096)
        self._seen = self._seen.partition(text)[2]

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def press_until(self, key: bytes, text: bytes) -> None:
        """Presses a key again while nothing comes: between its prompt and its wait, readline leaves a Ctrl-C lying."""
        for _ in range(int(3 * BOUND_S)):
            self.type(key)
            while text not in self._seen and select.select([self._screen], [], [], 1)[0]:
                self._seen += os.read(self._screen, 4096)
            if text in self._seen:
                break
        self.until(text)

    def end(self) -> int:
        _, status = os.waitpid(self._pid, 0)
        os.close(self._screen)
        return os.waitstatus_to_exitcode(status)
