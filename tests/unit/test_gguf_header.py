"""The reader of GGUF headers: what it takes from a good file, and that a bad one is a typed problem, and quickly."""

import errno
import os
import socket
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.gguf_bytes import F16, F32, Q8_0, Plain, Row, gguf, llama, llama_rows, text
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import ModelFile
from vramd_supervisor.files.gguf_header import read_header
from vramd_supervisor.files.gguf_model import describe
from vramd_supervisor.files.gguf_values import Elements, Tensor, UnreadableModelError

GOOD = llama()


def read(path: Path) -> ModelFile:
    return describe(str(path), [read_header(path)])


def written(folder: Path, content: bytes) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return path


def refused(path: Path) -> tuple[Reason, str]:
    with pytest.raises(UnreadableModelError) as caught:
        read(path)
    return caught.value.problem.reason, caught.value.problem.text


def test_a_good_file(tmp_path: Path) -> None:
    file = read(written(tmp_path, GOOD))
    assert file.size_bytes == len(GOOD)
    assert file.architecture == "llama"
    assert file.quantization == "F16"
    assert file.trained_context_tokens == 2048
    assert file.has_chat_template
    assert file.parameters == 64 * 5 * 2 + 64 + 2 * (64 * 128 + 64)
    shape = file.shape
    assert (shape.layers, shape.embedding, shape.feed_forward, shape.heads) == (2, 64, 128, 4)
    assert (shape.kv_heads, shape.key_length, shape.value_length, shape.vocabulary) == ((2, 2), 16, 16, 5)
    assert (shape.input_bytes, shape.output_bytes) == (64 * 5 * 4, 64 * 5 * 4 + 256)
    assert shape.layer_bytes == (64 * 128 * 4 + 256,) * 2
    assert shape.causal
    assert not shape.tied_bytes


@pytest.mark.parametrize("template", ["", " \n\t", 7, 0.5, ["{{ messages }}"]])
def test_what_cannot_be_a_chat_template_counts_as_none(tmp_path: Path, template: Plain) -> None:
    assert not read(written(tmp_path, llama(more={"tokenizer.chat_template": template}))).has_chat_template


def test_version_2_is_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, GOOD[:4] + struct.pack("<I", 2) + GOOD[8:])).architecture == "llama"


def test_the_quantization_is_that_of_most_bytes_where_the_file_does_not_say(tmp_path: Path) -> None:
    rows = [Row("a", (32, 8), Q8_0, size_bytes=8 * 34), Row("b", (32,), F16)]
    assert read(written(tmp_path, gguf({"general.architecture": "llama"}, rows))).quantization == "Q8_0"


def test_a_tied_output_is_seen(tmp_path: Path) -> None:
    rows = [row for row in llama_rows(1) if row.name != "output.weight"]
    file = read(written(tmp_path, gguf({"general.architecture": "llama", "llama.block_count": 1}, rows)))
    assert file.shape.tied_bytes == 64 * 5 * 4


def test_an_encoder_is_seen(tmp_path: Path) -> None:
    metadata: dict[str, Plain] = {"general.architecture": "bert", "bert.block_count": 1, "bert.pooling_type": 1}
    shape = read(written(tmp_path, gguf(metadata, llama_rows(1)))).shape
    assert not shape.causal
    assert shape.pooling == 1


@pytest.mark.parametrize(
    ("architecture", "pattern", "slides"),
    [
        ("gemma3", None, (True, True, True, True, True, False, True, True)),
        ("gemma2", None, (True, False) * 4),
        ("somebody", None, (False,) * 8),
        ("somebody", 4, (True, True, True, False) * 2),
        ("somebody", [1, 0], (True, False) * 4),
    ],
)
def test_sliding_layers(
    tmp_path: Path, architecture: str, pattern: int | list[int] | None, slides: tuple[bool, ...]
) -> None:
    more: dict[str, Plain] = {} if pattern is None else {f"{architecture}.attention.sliding_window_pattern": pattern}
    metadata: dict[str, Plain] = {
        "general.architecture": architecture,
        f"{architecture}.block_count": 8,
        f"{architecture}.attention.sliding_window": 512,
        **more,
    }
    shape = read(written(tmp_path, gguf(metadata, llama_rows(8)))).shape
    assert shape.sliding_layers == slides
    assert shape.sliding_window == (512 if any(slides) else 0)


def test_layers_without_a_cache_of_their_own(tmp_path: Path) -> None:
    more: dict[str, Plain] = {"llama.attention.shared_kv_layers": 2, "llama.attention.head_count_kv": [4, 2, 2, 2]}
    assert read(written(tmp_path, llama(4, more))).shape.kv_heads == (4, 2, 0, 0)


def test_blocks_that_predict_further_tokens_are_not_loaded(tmp_path: Path) -> None:
    shape = read(written(tmp_path, llama(3, {"llama.nextn_predict_layers": 1}))).shape
    assert shape.kv_heads == (2, 2, 0)
    assert shape.layer_bytes[2] == 0


def test_recurrent_layers_keep_a_state_instead_of_a_cache(tmp_path: Path) -> None:
    metadata: dict[str, Plain] = {
        "general.architecture": "hybrid",
        "hybrid.block_count": 2,
        "hybrid.embedding_length": 64,
        "hybrid.attention.head_count": 4,
        "hybrid.ssm.inner_size": 128,
        "hybrid.ssm.state_size": 16,
        "hybrid.ssm.conv_kernel": 4,
        "hybrid.ssm.group_count": 1,
    }
    rows = [Row("blk.0.ssm_conv1d.weight", (4, 128)), Row("blk.1.attn_k.weight", (64, 64))]
    shape = read(written(tmp_path, gguf(metadata, rows))).shape
    assert shape.kv_heads == (0, 4)
    assert shape.state_bytes == (4 * (3 * (128 + 2 * 16) + 16 * 128), 0)


def test_a_large_vocabulary_is_skipped_and_counted(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(150_000)]
    path = written(
        tmp_path, llama(2, {"tokenizer.ggml.tokens": words, "tokenizer.ggml.merges": [f"{w} x" for w in words]})
    )
    took_s = []
    for _ in range(3):
        began_s = time.thread_time()
        header = read_header(path)
        took_s.append(time.thread_time() - began_s)
    assert describe(str(path), [header]).shape.vocabulary == 150_000
    assert min(took_s) < 0.3


def entry(key: str, kind: int, raw: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + raw


def with_entries(*entries: bytes, tensors: int = 0, claimed: int | None = None) -> bytes:
    count = len(entries) if claimed is None else claimed
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + b"".join(entries)


TENSOR = text("t") + struct.pack("<I", 1)


def two_tensors_at(*offsets: int) -> bytes:
    """Of 32 bytes each."""
    rows = [
        text(name) + struct.pack("<IQIQ", 1, 8, F32, offset) for name, offset in zip(("a", "b"), offsets, strict=True)
    ]
    return with_entries(entry("general.architecture", 8, text("llama")), tensors=2) + b"".join(rows) + b"\0" * 999


BAD = {
    "empty": b"",
    "three bytes": b"GGU",
    "another magic": b"GGML" + GOOD[4:],
    "text": b"<html><body>404 not found</body></html>" * 9,
    "nothing after the magic": b"GGUF",
    "version 0": b"GGUF" + struct.pack("<I", 0) + GOOD[8:],
    "version 1": b"GGUF" + struct.pack("<I", 1) + GOOD[8:],
    "version 4": b"GGUF" + struct.pack("<I", 4) + GOOD[8:],
    "big-endian": b"GGUF" + struct.pack(">I", 3) + GOOD[8:],
    "too many entries": with_entries(claimed=1 << 40),
    "too many tensors": with_entries(tensors=1 << 40),
    "entries that are not there": with_entries(claimed=3),
    "a key that is too long": with_entries(struct.pack("<Q", 1 << 60), claimed=1),
    "a key behind the end": with_entries(struct.pack("<Q", 500), claimed=1),
    "an unknown value type": with_entries(entry("k", 99, b"\0" * 64)),
    "a text that is too long": with_entries(entry("k", 8, struct.pack("<Q", 1 << 62))),
    "an array that is too long": with_entries(entry("k", 9, struct.pack("<IQ", 4, 1 << 62))),
    "an array behind the end": with_entries(entry("k", 9, struct.pack("<IQ", 4, 1 << 20))),
    "texts behind the end": with_entries(entry("k", 9, struct.pack("<IQ", 8, 1 << 22))),
    "a text in an array that is too long": with_entries(entry("k", 9, struct.pack("<IQQ", 8, 2, 1 << 63))),
    "an array of arrays": with_entries(entry("k", 9, struct.pack("<IQIQ", 9, 1, 9, 1))),
    "an array of unknown things": with_entries(entry("k", 9, struct.pack("<IQ", 77, 1))),
    "a key twice": with_entries(entry("k", 0, b"\1"), entry("k", 0, b"\1")),
    "alignment 0": with_entries(entry("general.alignment", 4, struct.pack("<I", 0))),
    "alignment 33": with_entries(entry("general.alignment", 4, struct.pack("<I", 33))),
    "alignment as text": with_entries(entry("general.alignment", 8, text("32"))),
    "alignment of 2 GiB": with_entries(entry("general.alignment", 4, struct.pack("<I", 1 << 31))),
    "nine dimensions": with_entries(tensors=1) + text("t") + struct.pack("<I", 9) + b"\1" * 99,
    "a tensor behind the end": with_entries(tensors=1) + TENSOR + struct.pack("<QIQ", 1 << 20, 0, 0),
    "a tensor that begins behind the end": with_entries(tensors=1) + TENSOR + struct.pack("<QIQ", 1, 0, 1 << 60),
    "a tensor larger than 64 bits": (
        with_entries(tensors=1) + text("t") + struct.pack("<IQQQQIQ", 4, *[(1 << 64) - 1] * 4, 0, 0)
    ),
    "a tensor between blocks": with_entries(tensors=1) + TENSOR + struct.pack("<QIQ", 33, Q8_0, 0) + b"\0" * 999,
    "a tensor off its place": with_entries(tensors=1) + TENSOR + struct.pack("<QIQ", 1, 0, 3) + b"\0" * 999,
    "a tensor twice": gguf({"general.architecture": "llama"}, [Row("t", (1,)), Row("t", (1,))]),
    "tensors that overlap": two_tensors_at(0, 0),
    "tensors with a gap between": two_tensors_at(0, 64),
    "tensors in another order": two_tensors_at(32, 0),
    "cut off in the weights": GOOD[:-100],
    "cut off in the header": GOOD[:200],
    "no weights": gguf({"general.architecture": "llama"}, llama_rows(1), data=False),
    "no tensors": gguf({"general.architecture": "llama"}),
    "no architecture": gguf({"general.name": "x"}, llama_rows(1)),
    "a number as architecture": gguf({"general.architecture": 5}, llama_rows(1)),
    "an adapter": gguf({"general.architecture": "llama", "general.type": "adapter"}, llama_rows(1)),
    "too many layers": llama(2, {"llama.block_count": 1 << 30}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_a_problem(tmp_path: Path, name: str) -> None:
    reason, words = refused(written(tmp_path, BAD[name]))
    assert reason is Reason.MODEL_FILE_INVALID
    assert 0 < len(words) < 500


def test_tensors_side_by_side_are_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, two_tensors_at(0, 32))).parameters == 16


def test_what_was_cut_off_is_named(tmp_path: Path) -> None:
    assert "cut off: the tensor blk.1.attn_norm.weight" in refused(written(tmp_path, GOOD[:-100]))[1]
    assert "big-endian" in refused(written(tmp_path, BAD["big-endian"]))[1]


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("llama.context_length", "many"),
        ("llama.context_length", 0.5),
        ("llama.context_length", [1, 2]),
        ("llama.context_length", (1 << 32) - 1),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count_kv", [2]),
        ("llama.embedding_length", 0),
        ("llama.attention.sliding_window", 1 << 31),
        ("general.file_type", 4_000_000_000),
    ],
)
def test_nonsense_in_the_metadata_counts_as_not_there(tmp_path: Path, key: str, given: Plain) -> None:
    file = read(written(tmp_path, llama(2, {key: given})))
    assert file.architecture == "llama"
    assert 0 <= file.trained_context_tokens < 1 << 31


@pytest.mark.parametrize("kind", ["", "Model", 1, "vocabulary"])
def test_an_odd_type_is_no_problem(tmp_path: Path, kind: Plain) -> None:
    assert read(written(tmp_path, llama(2, {"general.type": kind}))).architecture == "llama"


@pytest.mark.parametrize("kind", ["adapter", "imatrix", "mmproj"])
def test_what_is_no_model_by_its_type_is_a_problem(tmp_path: Path, kind: str) -> None:
    assert kind in refused(written(tmp_path, llama(2, {"general.type": kind})))[1]


@pytest.mark.parametrize(
    "more", [{f"k.{number}": 1 for number in range(20_000)}, {"k" * 70_000: 1}, {"k" * 500_000: "x"}], ids=len
)
def test_many_entries_and_long_keys_are_read(tmp_path: Path, more: dict[str, Plain]) -> None:
    assert read(written(tmp_path, llama(2, more))).shape.layers == 2


@pytest.mark.parametrize("tokens", [1 << 31, 3_000_000_000, (1 << 32) - 1])
def test_a_huge_context_counts_as_the_longest_there_is(tmp_path: Path, tokens: int) -> None:
    assert read(written(tmp_path, llama(2, {"llama.context_length": tokens}))).trained_context_tokens == (1 << 31) - 1


def test_a_type_of_tensor_that_is_newer_than_vramd_ends_where_the_next_begins(tmp_path: Path) -> None:
    rows = [Row("token_embd.weight", (64,), 999, size_bytes=96), Row("output.weight", (64,), 999, size_bytes=64)]
    header = read_header(written(tmp_path, gguf({"general.architecture": "llama"}, rows)))
    assert header.tensors == (Tensor("token_embd.weight", 999, (64,), 96), Tensor("output.weight", 999, (64,), 64))
    assert [tensor.elements for tensor in header.tensors] == [64, 64]


def test_what_a_rewrite_needs_is_kept(tmp_path: Path) -> None:
    metadata: dict[str, Plain] = {
        "general.alignment": 32,
        "general.name": "x",
        "k.number": 0.5,
        "k.flag": True,
        "k.short": [1, 2],
        "k.long": [7] * 1025,
        "k.texts": ["a", "b"],
    }
    header = read_header(written(tmp_path, gguf(metadata, [Row("a", (2, 3, 4), F16), Row("b", ())])))
    assert header.kinds == dict(zip(metadata, (4, 8, 6, 7, 9, 9, 9), strict=True))
    assert header.metadata["k.short"] == Elements(4, 2, (1, 2))
    assert header.metadata["k.long"] == Elements(4, 1025)
    assert header.metadata["k.texts"] == Elements(8, 2)
    assert header.alignment == 32
    assert header.tensors == (Tensor("a", F16, (2, 3, 4), 48), Tensor("b", 0, (), 4))


def test_a_hole_of_a_terabyte_is_no_matter(tmp_path: Path) -> None:
    path = written(tmp_path, with_entries(*[entry(f"k{n}", 9, b"") for n in range(1)], claimed=4000))
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<IQ", 8, 1 << 22))
        file.truncate(1 << 40)
    began_s = time.process_time()
    assert refused(path)[0] is Reason.MODEL_FILE_INVALID
    assert time.process_time() - began_s < 10


def test_what_is_no_file_is_a_problem_and_never_blocks(tmp_path: Path) -> None:
    assert refused(tmp_path) == (Reason.MODEL_PATH_INVALID, f"{tmp_path} is a folder, no regular file")
    assert refused(tmp_path / "none.gguf")[0] is Reason.MODEL_FILE_MISSING
    assert refused(tmp_path / "nul\0.gguf")[0] is Reason.MODEL_PATH_INVALID


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_lack_of_descriptors_is_no_fault_of_the_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    path = written(tmp_path, GOOD)
    monkeypatch.setattr(os, "open", none_left)
    assert refused(path)[0] is Reason.FD_EXHAUSTED


if sys.platform != "win32":

    def test_special_files_never_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fifo = tmp_path / "f.gguf"
        os.mkfifo(fifo)
        assert refused(fifo) == (Reason.MODEL_PATH_INVALID, f"{fifo} is a FIFO, no regular file")
        assert refused(Path("/dev/zero"))[0] is Reason.MODEL_PATH_INVALID
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s.gguf")
            assert refused(Path("s.gguf"))[0] is Reason.MODEL_PATH_INVALID
        (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
        assert refused(tmp_path / "loop.gguf")[0] is Reason.MODEL_PATH_INVALID
        (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
        assert refused(tmp_path / "gone.gguf")[0] is Reason.MODEL_FILE_MISSING


changes = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=9), st.sampled_from(["put", "insert", "cut"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes, header_only=st.booleans())
def test_a_mutated_header_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, bytes, str]], header_only: bool
) -> None:
    content = bytearray(GOOD)
    reach = 1000 if header_only else len(content)
    for anywhere, raw, how in changes:
        place = anywhere % reach
        if how == "put":
            content[place : place + len(raw)] = raw
        elif how == "insert":
            content[place:place] = raw
        else:
            del content[place : place + len(raw)]
    path = written(tmp_path, bytes(content))
    began_s = time.process_time()
    try:
        file = read(path)
    except UnreadableModelError as error:
        assert error.problem.reason is Reason.MODEL_FILE_INVALID
    else:
        assert file == replace(file)
        assert file.size_bytes == len(content)
    assert time.process_time() - began_s < 2
