"""The virtual GPU of the tests: real llama.cpp computes on it, and really runs out of memory on it."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_llama
from support.programs import python
from support.virtual_gpu import PROLOGUE, Bench, Refusal, build, start_ticks

pytest.importorskip("llama_cpp")
if platform.system() != "Linux":
    pytest.skip("the virtual GPU is written for Linux", allow_module_level=True)

PLENTY = 64 * 2**20
CONTEXT_BYTES = 3 * 2**20
F16, Q8_0 = 1, 8

MEMORY = (
    PROLOGUE
    + """
print(os.listdir(os.environ["GGML_VGPU_DIR"]))
free, total = ctypes.c_size_t(), ctypes.c_size_t()
device = call("ggml_backend_dev_by_name", b"VGPU0")
call("ggml_backend_dev_memory", device, ctypes.byref(free), ctypes.byref(total), gives=None)
print(free.value, total.value)
"""
)

HOLD = (
    PROLOGUE
    + """
memory = call("ggml_backend_dev_buffer_type", call("ggml_backend_dev_by_name", b"VGPU0"))
holder = os.environ["GGML_VGPU_DIR"] + "/holder"
print("ready", flush=True)
sys.stdin.readline()
times = 0
while times < 300:
    buffer = call("ggml_backend_buft_alloc_buffer", memory, ctypes.c_size_t(4096))
    if buffer:
        os.close(os.open(holder, os.O_CREAT | os.O_EXCL))
        os.unlink(holder)
        call("ggml_backend_buffer_free", buffer, gives=None)
        times += 1
"""
)


@pytest.fixture
def bench(plug_ins: Path, tmp_path: Path) -> Bench:
    return Bench(tmp_path, build(plug_ins), random_llama(tmp_path / "model.gguf", Shape(embedding=256)))


@pytest.mark.parametrize(
    ("devices", "gpu_layers", "kv_type", "with_weights"),
    [
        (1, -1, F16, ["VGPU0"]),
        (1, -1, Q8_0, ["VGPU0"]),
        (1, 1, F16, ["VGPU0"]),
        (2, -1, F16, ["VGPU0", "VGPU1"]),
        (2, 1, F16, ["VGPU0"]),
    ],
)
def test_it_computes_what_the_cpu_computes(
    bench: Bench, devices: int, gpu_layers: int, kv_type: int, with_weights: Sequence[str]
) -> None:
    card = bench.card(*[PLENTY] * devices)
    with (
        bench.llama(None, gpu_layers=0, kv_type=kv_type) as on_cpu,
        bench.llama(card, gpu_layers=gpu_layers, kv_type=kv_type) as on_card,
    ):
        assert on_cpu.logits
        assert on_card.logits == pytest.approx(on_cpu.logits, abs=1e-5)
        assert re.findall(r"(VGPU\d) model buffer size", on_card.errors) == with_weights
    assert card.refused() == []


def test_a_model_of_the_cpu_touches_no_device(bench: Bench) -> None:
    card = bench.card(PLENTY, context_bytes=CONTEXT_BYTES)
    with bench.llama(card, gpu_layers=0) as user:
        assert user.logits
        assert card.processes() == frozenset()


def test_the_second_process_finds_no_room_until_the_first_is_dead(bench: Bench) -> None:
    one = bench.taken_bytes(bench.card(PLENTY))
    card = bench.card(one + one // 2)
    with bench.llama(card) as first:
        assert first.logits
        with bench.llama(card) as second:
            assert second.logits is None
            assert "allocate" in second.errors
            assert {refusal.pid for refusal in card.refused()} == {second.pid}
        assert card.processes() == {first.pid}
        first.kill()
        assert start_ticks(first.pid) == card.taken_bytes() == 0
        refused = card.refused()
        with bench.llama(card) as third:
            assert third.logits
            assert card.taken_bytes() == card.taken_bytes(third.pid) == one
        assert card.refused() == refused
        assert card.peak_bytes(first.pid) == one


def test_to_the_byte(bench: Bench) -> None:
    one = bench.taken_bytes(bench.card(PLENTY))
    exact, short = bench.card(one), bench.card(one - 1)
    with bench.llama(exact) as fits, bench.llama(short) as fails:
        assert fits.logits
        assert exact.free_bytes() == 0
        assert fails.logits is None
        assert "failed to allocate compute" in fails.errors
    (refusal,) = set(short.refused())
    assert refusal.refused_bytes == one - short.peak_bytes(refusal.pid)
    assert exact.refused() == []


def test_weights_that_do_not_fit(bench: Bench) -> None:
    card = bench.card(2**18)
    with bench.llama(card) as user:
        assert user.logits is None
        assert "unable to allocate VGPU0 buffer" in user.errors
        ((pid, device, refused_bytes),) = card.refused()
        assert (pid, device) == (user.pid, 0)
        assert refused_bytes > 2**18
        assert card.taken_bytes() == 0


def test_other_programs_count(bench: Bench) -> None:
    one = bench.taken_bytes(bench.card(PLENTY))
    card = bench.card(PLENTY)
    card.external(PLENTY - one + 1)
    with bench.llama(card) as user:
        assert user.logits is None
    card.external(PLENTY - one)
    with bench.llama(card) as user:
        assert user.logits
        assert card.free_bytes() == 0


def test_a_process_has_a_context_as_long_as_it_lives(bench: Bench) -> None:
    one = bench.taken_bytes(bench.card(PLENTY))
    card = bench.card(PLENTY, context_bytes=CONTEXT_BYTES)
    with bench.llama(card) as user:
        assert user.logits
        assert card.taken_bytes() == one + CONTEXT_BYTES
        user.free()
        assert card.taken_bytes() == CONTEXT_BYTES
        user.end()
        assert card.taken_bytes() == 0
        assert card.peak_bytes(user.pid) == one + CONTEXT_BYTES


def test_a_context_that_does_not_fit(bench: Bench) -> None:
    card = bench.card(PLENTY, context_bytes=PLENTY + 1)
    with bench.llama(card) as user:
        assert user.logits is None
        assert "unable to allocate VGPU0 buffer" in user.errors
        assert set(card.refused()) == {Refusal(user.pid, 0, PLENTY + 1)}
        assert card.processes() == frozenset()


def test_processes_that_come_at_once_never_have_more_than_there_is(bench: Bench) -> None:
    context_bytes = 2 * bench.taken_bytes(bench.card(PLENTY))
    total_bytes = 3 * context_bytes
    card = bench.card(total_bytes, context_bytes=context_bytes)
    with ExitStack() as stack:
        users = [stack.enter_context(bench.llama(card)) for _ in range(4)]
        refused = {user.pid for user in users if not user.logits}
        assert {refusal.pid for refusal in card.refused()} == refused
        assert len(refused) >= 2, "there is room for two; where three have come as far as their contexts, for none"
        assert card.taken_bytes() <= total_bytes


def test_what_fits_once_is_never_had_by_two(bench: Bench) -> None:
    environment = os.environ | bench.card(4096).environment(bench.plug_in)
    command, pipe = [sys.executable, "-c", HOLD], subprocess.PIPE
    with (
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as one,
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as other,
    ):
        assert one.stdout and one.stdout.readline() == b"ready\n"
        assert other.stdout and other.stdout.readline() == b"ready\n"
        assert one.stdin
        one.stdin.close()
        other.communicate(b"\n", 60)
        assert (one.wait(60), other.returncode) == (0, 0)


def test_memory_is_told_from_the_books(bench: Bench) -> None:
    card = bench.card(PLENTY, context_bytes=CONTEXT_BYTES)
    card.external(12345)
    with bench.llama(card) as user:
        assert user.logits
        taken = card.taken_bytes()
        seen, memory = python("-c", MEMORY, added=card.environment(bench.plug_in)).stdout.splitlines()
    assert memory == f"{PLENTY - 12345 - taken - CONTEXT_BYTES} {PLENTY}"
    assert "device" in seen
    assert seen.count("device0") == 1, "loading it takes nothing of the card"
    card.external(2 * PLENTY)
    assert python("-c", MEMORY, added=card.environment(bench.plug_in)).stdout.splitlines()[1] == "0 0"
    assert card.free_bytes() == 0


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_pid_that_was_used_before_has_nothing(bench: Bench, is_alive: bool) -> None:
    card = bench.card(PLENTY)
    ticks = start_ticks(os.getpid()) - (0 if is_alive else 1)
    (card.folder / f"device0.{os.getpid()}").write_text(f"{ticks} {PLENTY} 0 {PLENTY}\n", "ascii")
    with bench.llama(card) as user:
        assert (user.logits is None) == is_alive
        assert card.taken_bytes(os.getpid()) == (PLENTY if is_alive else 0)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("VGPU_API_VERSION=1", "incompatible API version (backend: 1, current: 2)"),
        ('VGPU_GGML_VERSION="0.1.2"', "virtual GPU: made for ggml 0.1.2, this is "),
    ],
)
def test_another_version_is_refused(bench: Bench, plug_ins: Path, definition: str, said: str) -> None:
    card = bench.card(PLENTY)
    done = python("-c", PROLOGUE, added=card.environment(build(plug_ins, definition)))
    assert "no virtual GPU" in done.stderr
    assert said in done.stderr
    assert list(card.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"GGML_VGPU_DIR": "/nowhere"}, "GGML_VGPU_DIR is no folder"),
        ({"GGML_VGPU_TOTAL": "1GiB"}, "do not say what there is"),
        ({"GGML_VGPU_TOTAL": "5,6", "GGML_VGPU_COUNT": "3"}, "do not say what there is"),
        ({"GGML_VGPU_CONTEXT_BYTES": "-1"}, "do not say what there is"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(bench: Bench, change: Mapping[str, str], said: str) -> None:
    done = python("-c", PROLOGUE, added={**bench.card(PLENTY).environment(bench.plug_in), **change})
    assert said in done.stderr
    assert "no virtual GPU" in done.stderr


PLAN_AND_LOAD = """
import json, os, sys
from vramd_worker.llama.dry_run import plan
from vramd_worker.llama.load import open_model, start_engine
from vramd_worker.llama.parameters import LlamaSpec
from vramd_worker.llama.virtual_gpu import virtual_gpus

path, count, layers, kv_type = json.loads(os.environ["WANTED"])
library = start_engine(untested=False)
names = ("VGPU0", "VGPU1")[:count]
settings = (512, 1, "gpu0", layers, 64, kv_type, 2, 64)
shares = tuple((name, 1.0) for name in names)
spec = LlamaSpec(*settings, path=path, device_names=names, shares=shares, outputs=2)
devices = plan(library, spec, virtual_gpus(library).handles[:count]).devices
planned = [device.weights_bytes + device.context_bytes + device.compute_bytes for device in devices]
opened = open_model(library, spec, 1, lambda share: None)
books = [f"{os.environ['GGML_VGPU_DIR']}/device{number}.{os.getpid()}" for number in range(count)]
print(json.dumps([planned, [int(open(book).read().split()[1]) for book in books]]))
"""


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("gpu_layers", "kv_type"), [(-1, "f16"), (-1, "q8_0"), (-1, "bf16"), (2, "q8_0")])
@pytest.mark.parametrize("head", [32, 64], ids="head{}".format)
def test_a_load_takes_what_a_dry_run_says(bench: Bench, devices: int, gpu_layers: int, kv_type: str, head: int) -> None:
    model = random_llama(bench.folder / "wanted.gguf", Shape(embedding=4 * head))
    wanted = {"WANTED": json.dumps([str(model), devices, gpu_layers, kv_type])}
    done = python("-c", PLAN_AND_LOAD, added={**bench.card(*[PLENTY] * devices).environment(bench.plug_in), **wanted})
    assert done.returncode == 0, done.stderr
    planned, taken = json.loads(done.stdout)
    assert planned == taken
    assert all(taken)


RULES = (
    PROLOGUE
    + """
class Parameters(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_size_t), ("memory", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]

context = call("ggml_init", Parameters(2**20, None, True))
card = call("ggml_backend_dev_by_name", b"VGPU0")
memory, host = call("ggml_backend_dev_buffer_type", card), call("ggml_backend_dev_host_buffer_type", card)

def tensor(kind, *size):
    return call("ggml_new_tensor_4d", context, kind, *map(ctypes.c_int64, (*size, 1, 1, 1)[:4]))

def attention(head, tokens, k_kind=8, v_kind=8):
    q, k, v = tensor(0, head, tokens, 4), tensor(k_kind, head, 256, 2), tensor(v_kind, head, 256, 2)
    return call("ggml_flash_attn_ext", context, q, k, v, None, *map(ctypes.c_float, (1, 0, 0)))

def size(of, where=memory):
    return call("ggml_backend_buft_get_alloc_size", where, of, gives=ctypes.c_size_t)

def does(name, of):
    return call("ggml_backend_dev_" + name, card, of, gives=ctypes.c_bool)

def product(tokens):
    return call("ggml_mul_mat", context, tensor(1, 64, 8), tensor(0, 64, tokens))

print(json.dumps({
    "alignment": call("ggml_backend_buft_get_alignment", memory, gives=ctypes.c_size_t),
    "q8_0": [size(tensor(8, 96, 3)), size(tensor(8, 96, 3), host), size(tensor(8, 512, 3))],
    "attention": [size(attention(64, 33)), size(attention(64, 1)), size(attention(64, 33, v_kind=1))],
    "attends": [does("supports_op", attention(head, 33)) for head in (32, 64, 192, 256)],
    "offloads": [does("offload_op", product(tokens)) for tokens in (31, 32)],
    "uses": [does("supports_buft", where) for where in (memory, host)],
    "context": [call("ggml_backend_dev_init", card, None) and len(os.listdir(os.environ["GGML_VGPU_DIR"]))],
}))
"""
)


def test_it_has_the_rules_of_cuda(bench: Bench) -> None:
    done = python("-c", RULES, added=bench.card(PLENTY).environment(bench.plug_in))
    result, one, copies = 64 * 4 * 33 * 4, 64 * 4 * 4, 64 * 256 * 2 * 2
    assert json.loads(done.stdout) == {
        "alignment": 128,
        "q8_0": [3 * 3 * 34 + 13 * 34, 3 * 3 * 34, 16 * 3 * 34],
        "attention": [result + 2 * copies, one + 2 * copies, result + copies],
        "attends": [False, True, False, True],
        "offloads": [False, True],
        "uses": [True, False],
        "context": [2],
    }
