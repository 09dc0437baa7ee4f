"""A benchmark's peer: a program that listens like llama-server does."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.supervisor_process import until
from vramd_bench.figures import BenchError
from vramd_bench.peer import PeerLoad, routing, serving
from vramd_bench.streamed import Live

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")

PROGRAM = """#!{python} -I
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(1, asked["n_predict"] + 1):
            self.say({{"content": str(number), "tokens_predicted": number}})
            if number == asked["n_predict"] and (asked["n_predict"] == 99 or "STAND_STILL" in os.environ):
                threading.Event().wait()
        words = " ".join(sys.argv[1:] + [str(asked.get("model")), str(os.nice(0)), str(os.environ.get("LLAMA_ARG_X"))])
        self.say({{"content": words, "tokens_predicted": asked["n_predict"], "tokens_evaluated": 3}})
        self.wfile.write(b"0\\r\\n\\r\\n")

    def say(self, message):
        line = b"data: " + json.dumps(message).encode() + b"\\n\\n"
        self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line))

    def log_message(self, *_):
        pass

import threading
if "--ctx-size" not in sys.argv:
    sys.exit("no context")
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
LOAD = PeerLoad(2048, 1, 4)
BOUND_S = 60.0


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMA_ARG_X", "the user's")
    file = tmp_path / "llama-server"
    file.write_text(PROGRAM.format(python=sys.executable), "utf-8")
    file.chmod(0o700)
    return file


def test_it_answers_at_a_workers_priority_and_without_the_users_settings(program: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    with serving(program, model, LOAD) as peer:
        found = peer.stream(2)
    assert found.tokens == (1, 1, 0)
    assert f"--model {model} --ctx-size 2048" in found.text
    assert found.text.endswith("None 5 None"), "no model named, niceness, no variable"


def test_a_router_is_asked_by_name(program: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"")
    with routing(program, model, ["a", "b"], LOAD) as peer:
        assert peer.of("b").stream(1).text.endswith("b 5 None")


def test_a_stream_is_broken_off_while_nothing_comes(program: Path, tmp_path: Path) -> None:
    live = Live()
    found = []
    with serving(program, tmp_path / "model.gguf", LOAD) as peer:
        asking = threading.Thread(target=lambda: found.append(peer.stream(99, live=live)))
        asking.start()
        assert live.wait_for(99)
        live.break_off()
        asking.join()
    assert sum(found[0].tokens) == 99


def listens(process: psutil.Process, program: Path) -> bool:
    try:
        return str(program) in process.cmdline() and bool(process.net_connections("inet"))
    except psutil.NoSuchProcess:
        return False


def test_it_ends_with_a_benchmark_that_is_terminated(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    command = (sys.executable, "-m", "vramd", "bench", "talk", "--quick", "--peer", str(program))
    # The benchmark must not be over before it is terminated.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "STAND_STILL": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as bench:

        def listening() -> list[psutil.Process]:
            assert bench.poll() is None
            return [child for child in psutil.Process(bench.pid).children() if listens(child, program)]

        peers = until("it listens", listening, BOUND_S)
        bench.terminate()
        assert bench.wait(BOUND_S) == 128 + signal.SIGTERM
    gone, _ = psutil.wait_procs(peers, BOUND_S)
    assert gone == peers


def test_a_signal_that_comes_while_it_is_started_loses_no_process(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **settings: Any) -> None:
            super().__init__(command, **settings)
            started.append(psutil.Process(self.pid))
            signal.raise_signal(signal.SIGTERM)

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(SystemExit), serving(program, tmp_path / "model.gguf", LOAD):
            pass
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    gone, _ = psutil.wait_procs(started, BOUND_S)
    assert len(gone) == 1


def test_a_program_that_does_not_listen_says_why(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho no such flag >&2; exit 1\n", "utf-8")
    program.chmod(0o700)
    with pytest.raises(BenchError, match="no such flag"), serving(program, tmp_path / "model.gguf", LOAD):
        pass
