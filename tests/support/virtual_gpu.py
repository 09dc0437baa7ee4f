"""Virtual GPUs: real llama.cpp on devices that have only so many bytes, and that processes share. Linux only.

The backend is made of tests/virtual_gpu, whose virtual_gpu.cpp tells its rules and books.h its files. A process has it
after `ggml_backend_load(plug_in)`, called before anything else of llama.cpp, of the ggml that its llama.cpp uses:
`llama_cpp.llama_cpp._lib.ggml_backend_load` (the unversioned library would be a second ggml).
"""

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import pytest

_SOURCE = Path(__file__).parent.parent / "virtual_gpu"
_COMPILERS = ("c++", "g++", "clang++")
_OPTIONS = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden")

PROLOGUE = """
import ctypes, json, os, sys
import llama_cpp.llama_cpp as llama

def call(name, *arguments, gives=ctypes.c_void_p):
    function = getattr(llama._lib, name)
    function.restype = gives
    found = function(*arguments)
    return ctypes.c_void_p(found) if gives is ctypes.c_void_p else found

if "GGML_BACKEND_PATH" in os.environ and not call("ggml_backend_load", os.environ["GGML_BACKEND_PATH"].encode()):
    sys.exit("no virtual GPU")
"""
"""How a script begins that uses a virtual GPU if its environment has one; `call` calls ggml."""

_LLAMA = (
    PROLOGUE
    + """
path, wanted = sys.argv[1], json.loads(sys.argv[2])
llama.llama_backend_init()
settings = llama.llama_model_default_params()
settings.load_mode = llama.LLAMA_LOAD_MODE_NONE
settings.n_gpu_layers = wanted["gpu_layers"]
if not wanted["gpu_layers"]:
    settings.devices = ctypes.cast((ctypes.c_void_p * 1)(None), ctypes.c_void_p)
model = llama.llama_model_load_from_file(path.encode(), settings)
if not model:
    sys.exit("no model")
settings = llama.llama_context_default_params()
settings.n_ctx, settings.n_batch, settings.n_ubatch = 256, 64, 64
settings.n_threads = settings.n_threads_batch = 1
settings.type_k = settings.type_v = wanted["kv_type"]
context = llama.llama_init_from_model(model, settings)
if not context:
    sys.exit("no context")
logits = []
for tokens in (range(10, 50), range(50, 51)):
    held = (ctypes.c_int32 * len(tokens))(*tokens)
    batch = llama.llama_batch_get_one(held, len(tokens))
    assert llama.llama_decode(context, batch) == 0
    logits += llama.llama_get_logits(context)[:512]
print(json.dumps(logits), flush=True)
sys.stdin.readline()
llama.llama_free(context)
llama.llama_model_free(model)
print("freed", flush=True)
sys.stdin.readline()
"""
)


@cache
def build(folder: Path, *definitions: str) -> Path:
    """The plug-in, compiled into the folder unless it lies there: the name has a digest of all that goes into it.

    The definitions are of the preprocessor: `VGPU_API_VERSION=1`. Skips the test where there is no compiler, no
    llama-cpp-python or no Linux.
    """
    if platform.system() != "Linux":
        pytest.skip("the virtual GPU is written for Linux")
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        pytest.skip(f"no C++ compiler to make the virtual GPU with: none of {', '.join(_COMPILERS)}")
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        pytest.skip("llama-cpp-python is not installed")
    package = Path(found.origin).parent
    libraries = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or package / "lib")
    headers = next(place for place in (package.parent, package) if (place / "include" / "ggml-backend.h").exists())
    command = [
        compiler,
        *_OPTIONS,
        *(f"-D{definition}" for definition in definitions),
        *("-I", str(headers / "include")),
        str(_SOURCE / "virtual_gpu.cpp"),
        *("-L", str(libraries), "-lggml", "-lggml-base"),
    ]
    return _compiled(command, folder / f"virtual_gpu-{_digest(command, libraries / 'libggml-base.so')}.so")


def _digest(command: list[str], library: Path) -> str:
    digest = hashlib.sha256("\0".join(command).encode())
    for file in (*sorted(_SOURCE.iterdir()), library):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _compiled(command: list[str], made: Path) -> Path:
    if not made.exists():
        # Another run of the tests may be making it too.
        with tempfile.TemporaryDirectory(dir=made.parent) as own:
            fresh = Path(own, made.name)
            done = subprocess.run([*command, "-o", str(fresh)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            fresh.replace(made)
    return made


class Refusal(NamedTuple):
    pid: int
    device: int
    refused_bytes: int


class Claim(NamedTuple):
    """What a process has taken of a device, or had when it died."""

    start_ticks: int
    taken_bytes: int
    context_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Card:
    """One virtual GPU, or several, and who uses them."""

    folder: Path
    """Of the books; it must exist."""
    totals: tuple[int, ...]
    """Bytes of each device."""
    context_bytes: int = 0
    """What a process takes of each device that it touches."""
    as_cuda: bool = False
    """A process sees those devices only that CUDA_VISIBLE_DEVICES names by their UUIDs, GPU-VIRTUAL-0 and so on."""

    def environment(self, plug_in: Path) -> Mapping[str, str]:
        """For a process that is to have these devices."""
        needed = {
            "GGML_BACKEND_PATH": str(plug_in),
            "GGML_VGPU_DIR": str(self.folder),
            "GGML_VGPU_TOTAL": ",".join(map(str, self.totals)),
            "GGML_VGPU_COUNT": str(len(self.totals)),
            "GGML_VGPU_CONTEXT_BYTES": str(self.context_bytes),
            **({"GGML_VGPU_AS_CUDA": "1"} if self.as_cuda else {}),
        }
        return {**needed, "VRAMD_WORKER_ENVIRONMENT": ",".join(needed)}

    def external(self, taken_bytes: int, device: int = 0) -> None:
        """Other programs have now taken so many bytes."""
        fresh = self.folder / f"new-external{device}"
        fresh.write_text(str(taken_bytes), "ascii")
        fresh.replace(self._external(device))

    def external_bytes(self, device: int = 0) -> int:
        file = self._external(device)
        return int(file.read_text("ascii")) if file.exists() else 0

    def processes(self, device: int = 0) -> frozenset[int]:
        """The pids that use the device now."""
        return frozenset(pid for pid, claim in self._claims(device).items() if start_ticks(pid) == claim.start_ticks)

    def taken_bytes(self, pid: int | None = None, device: int = 0) -> int:
        """What a process, or else all together, have taken; the dead have nothing."""
        claims = self._claims(device)
        users = self.processes(device) & (claims.keys() if pid is None else {pid})
        return sum(claims[user].taken_bytes for user in users)

    def free_bytes(self, device: int = 0) -> int:
        return max(0, self.totals[device] - self.external_bytes(device) - self.taken_bytes(device=device))

    def peak_bytes(self, pid: int, device: int = 0) -> int:
        """The most that a process ever had of the device, also if it is dead; 0 if it never touched it."""
        claim = self._claims(device).get(pid)
        return claim.peak_bytes if claim else 0

    def refused(self) -> list[Refusal]:
        file = self.folder / "refused"
        lines = file.read_text("ascii").splitlines() if file.exists() else []
        return [Refusal(*map(int, line.split())) for line in lines]

    def _external(self, device: int) -> Path:
        return self.folder / f"external{device}"

    def _claims(self, device: int) -> dict[int, Claim]:
        files = self.folder.glob(f"device{device}.*")
        return {int(file.suffix[1:]): Claim(*map(int, file.read_text("ascii").split())) for file in files}


def start_ticks(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0 if it is dead, or dead and not yet reaped."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = line.rpartition(")")[2].split()
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])


@dataclass
class Llama:
    """A process that loads a model, computes with it, and waits to be told what next."""

    process: "subprocess.Popen[str]"
    printed: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @cached_property
    def logits(self) -> Sequence[float] | None:
        """Waits until it has computed; None if it could not load."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        return list(map(float, json.loads(line))) if line else None

    @property
    def errors(self) -> str:
        """What it has printed. Waits until it has computed, or has ended because it could not load."""
        if self.logits is None:
            self.process.wait(60)
        return self.printed.read_text("utf-8", "replace")

    def free(self) -> None:
        """Has it free the model and stay."""
        assert self.logits
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "freed\n"

    def end(self) -> None:
        self.process.communicate("\n\n", 60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        """Returns when it is dead, and leaves it a zombie."""
        self.process.kill()
        if sys.platform == "linux":
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def llama(
    model: Path, environment: Mapping[str, str], printed: Path, *, gpu_layers: int = -1, kv_type: int = 1
) -> Iterator[Llama]:
    """Starts a process with the model, 256 tokens of context and no vramd in it; kills it at the end."""
    wanted = {"gpu_layers": gpu_layers, "kv_type": kv_type}
    with (
        printed.open("w") as out,
        subprocess.Popen(
            [sys.executable, "-c", _LLAMA, str(model), json.dumps(wanted)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
            env=os.environ | environment,
        ) as process,
    ):
        try:
            yield Llama(process, printed)
        finally:
            process.kill()


@dataclass(frozen=True)
class Bench:
    """Makes cards, and processes that compute with one model on them."""

    folder: Path
    """Of the test; all that is made lies in it."""
    plug_in: Path
    model: Path

    def card(self, *totals: int, context_bytes: int = 0) -> Card:
        """Devices of so many bytes that nobody has used."""
        return Card(self._fresh_folder(), totals, context_bytes)

    def llama(self, card: Card | None, *, gpu_layers: int = -1, kv_type: int = 1) -> AbstractContextManager[Llama]:
        environment = card.environment(self.plug_in) if card else {}
        printed = self._fresh_folder() / "printed"
        return llama(self.model, environment, printed, gpu_layers=gpu_layers, kv_type=kv_type)

    def taken_bytes(self, card: Card) -> int:
        """What one that has loaded has taken of the first device."""
        with self.llama(card) as user:
            assert user.logits
            return card.taken_bytes(user.pid)

    def _fresh_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))
