"""llama-server as a peer: the same file, threads, context and number of sequences, asked over HTTP."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from vramd_worker.containment import NICENESS

from .figures import BenchError
from .streamed import LIMIT_S, Live, Streamed, fresh_prompt

HOST = "127.0.0.1"
START_LIMIT_S = 60.0
END_LIMIT_S = 10.0
LOOK_EVERY_S = 0.02
DATA = b"data: "
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class PeerLoad:
    """Settings of llama-server; all others are its defaults."""

    context_tokens: int
    threads: int
    parallel: int
    cache: bool = False
    """Whether it continues prompts that it knows."""

    def arguments(self) -> list[str]:
        """The options of its command."""
        words = ["--ctx-size", self.context_tokens, "--parallel", self.parallel, "--kv-unified"]
        words += ["--threads", self.threads, "--threads-batch", self.threads, "--no-ui"]
        words += [] if self.cache else ["--no-cache-prompt", "--cache-ram", 0]
        return list(map(str, words))


class Peer:
    """A llama-server that listens. Any number of threads may ask it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, model: str = "") -> None:
        self._process = process
        self._port = port
        self._model = model

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def of(self, model: str) -> "Peer":
        """The same server, asked for a model by its name: a router loads it first."""
        return Peer(self._process, self._port, model)

    def stream(self, tokens: int, prompt: str = "", live: Live | None = None) -> Streamed:
        """Streams an answer; parses the messages when all have come. Raises BenchError."""
        live, began_s = live or Live(), time.perf_counter()
        wanted = {"prompt": prompt or fresh_prompt(), "n_predict": tokens, "temperature": 0, "stream": True}
        wanted |= {"model": self._model} if self._model else {}
        body = json.dumps(wanted).encode()
        connection = http.client.HTTPConnection(HOST, self._port, timeout=LIMIT_S)
        try:
            connection.connect()
            # To close it would not wake the thread that reads.
            cancel = partial(connection.sock.shutdown, socket.SHUT_RDWR)
            began_s = time.perf_counter()
            connection.request("POST", "/completion", body, {"Content-Type": "application/json"})
            live.begin(cancel)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise BenchError(f"llama-server answers {answer.status}: {answer.read().decode('utf-8', 'replace')}")
            return read(_lines(answer, live), began_s)
        except (OSError, http.client.HTTPException) as error:
            if live.cut:
                return Streamed(began_s, (), ())
            raise BenchError(f"llama-server broke off: {error!r}") from error
        finally:
            live.end()
            connection.close()

    def answers(self) -> bool:
        """Whether it has loaded its model, or needs none."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=START_LIMIT_S)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


def _lines(answer: http.client.HTTPResponse, live: Live) -> Iterator[tuple[float, bytes]]:
    """The messages with the moments at which they came, until it is broken off or has ended."""
    try:
        while line := answer.readline():
            if line.startswith(DATA):
                at_s = time.perf_counter()
                live.came()
                yield at_s, line
    except (OSError, http.client.HTTPException):
        if not live.cut:
            raise


def read(lines: Iterator[tuple[float, bytes]], began_s: float) -> Streamed:
    """Makes a stream of server-sent events. Raises BenchError for one that tells of an error."""
    came = list(lines)
    told = [json.loads(line.removeprefix(DATA)) for _, line in came]
    for message in told:
        if "error" in message:
            raise BenchError(f"llama-server failed: {message['error']}")
    # The last message brings no token; one whose character was not whole came with the next.
    tokens, seen = [], 0
    for message in told:
        tokens.append(int(message["tokens_predicted"]) - seen)
        seen += tokens[-1]
    last = told[-1] if told else {}
    cached = int(last.get("timings", {}).get("cache_n", 0))
    text = "".join(message["content"] for message in told)
    times_s = tuple(at_s for at_s, _ in came)
    return Streamed(began_s, times_s, tuple(tokens), text, cached, int(last.get("tokens_evaluated", 0)))


@contextmanager
def serving(program: Path, model: Path, load: PeerLoad) -> Iterator[Peer]:
    """A llama-server with a model; entered on the main thread. Raises BenchError."""
    with _started(program, ["--model", str(model), *load.arguments()]) as peer:
        yield peer


@contextmanager
def routing(program: Path, model: Path, names: Sequence[str], load: PeerLoad) -> Iterator[Peer]:
    """A router of llama-server that has room for one of the models of these names, all of one file.

    Entered on the main thread. Raises BenchError.
    """
    with tempfile.TemporaryDirectory(prefix="vb") as folder:
        for name in names:
            Path(folder, f"{name}.gguf").symlink_to(model)
        arguments = ["--models-dir", folder, "--models-max", "1", *load.arguments()]
        with _started(program, arguments) as peer:
            yield peer


@contextmanager
def _started(program: Path, arguments: Sequence[str]) -> Iterator[Peer]:
    # The user's settings of llama.cpp are not measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    port = _free_port()
    with tempfile.TemporaryFile() as out:
        command = [str(program), *arguments, "--host", HOST, "--port", str(port)]
        with ExitStack() as stack:
            with _signals_held():
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
                )
                stack.callback(_end, process)
            _step_back(process.pid)  # before it has threads, which take that over
            peer = Peer(process, port)
            _wait_until(peer, process, out.fileno())
            yield peer


@contextmanager
def _signals_held() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM take effect at its end: within `Popen` they would lose a process that has started."""
    came: list[int] = []
    try:
        with ExitStack() as handlers:
            for number in ENDING_SIGNALS:
                handlers.callback(signal.signal, number, signal.signal(number, lambda one, _frame: came.append(one)))
            yield
    finally:
        for signaled in came:
            signal.raise_signal(signaled)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_LIMIT_S)


def _step_back(pid: int) -> None:
    """Lowers its priority to that of a worker; one that has ended has none."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if sys.platform == "win32":
            psutil.Process(pid).nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            psutil.Process(pid).nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux only; without the setting niceness counts everywhere
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS), "ascii")


def _wait_until(peer: Peer, process: "subprocess.Popen[bytes]", out: int) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while not peer.answers():
        if process.poll() is not None or time.monotonic() > end_s:
            said = os.pread(out, os.fstat(out).st_size, 0) if hasattr(os, "pread") else b""
            words = said.decode("utf-8", "replace").strip()[-1000:]
            raise BenchError(f"llama-server does not listen: {words or 'it said nothing'}")
        time.sleep(LOOK_EVERY_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
