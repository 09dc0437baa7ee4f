"""The skeleton of a model: what it keeps, what it leaves out, and that a hostile header ends in a typed problem."""

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.gguf_bytes import F16, Plain, Row, gguf, llama, llama_rows
from vramd_common.reasons import Reason
from vramd_supervisor.files.gguf_header import read_header
from vramd_supervisor.files.gguf_values import Elements, Header, Tensor, UnreadableModelError, Value
from vramd_supervisor.files.skeleton import skeleton_key, write_skeleton

U32, STRING, ARRAY = 4, 8, 9
EMBEDDING = Tensor("token_embd.weight", F16, (64, 5), 640)


def header_of(folder: Path, content: bytes) -> Header:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return read_header(path)


def skeleton_of(folder: Path, *headers: Header) -> Header:
    path = folder / "s.gguf"
    write_skeleton(headers, path)
    return read_header(path)


def made(
    metadata: Mapping[str, tuple[int, Value]] | None = None,
    tensors: Sequence[Tensor] = (EMBEDDING,),
    *,
    architecture: str = "llama",
) -> Header:
    """A header that no file has to have."""
    kinds = {"general.architecture": STRING, **{key: kind for key, (kind, _) in (metadata or {}).items()}}
    values = {"general.architecture": architecture, **{key: value for key, (_, value) in (metadata or {}).items()}}
    return Header(1 << 20, values, kinds, 32, tuple(tensors))


def refused(*headers: Header) -> tuple[Reason, str]:
    with pytest.raises(UnreadableModelError) as caught:
        skeleton_key(headers)
    return caught.value.problem.reason, caught.value.problem.text


def test_it_has_the_hyper_parameters_and_the_tensors_and_nothing_else(tmp_path: Path) -> None:
    more: dict[str, Plain] = {
        "general.name": "somebody's",
        "llama.rope.freq_base": 10000.5,
        "llama.attention.causal": True,
        "llama.attention.sliding_window_pattern": [1, 0],
        "llama.rope.scaling.type": "yarn",
        "qwen2.block_count": 7,
        "xielu.eps": 0.25,
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.scores": [1, 2, 3],
    }
    full = header_of(tmp_path, llama(2, more))
    skeleton = skeleton_of(tmp_path, full)
    kept = {key for key in full.metadata if key.startswith("llama.")}
    kept |= {"general.architecture", "xielu.eps", "tokenizer.ggml.token_type_count"}
    assert len(kept) == 13
    for key in kept:
        assert (skeleton.kinds[key], skeleton.metadata[key]) == (full.kinds[key], full.metadata[key])
    added = {key: skeleton.metadata[key] for key in set(skeleton.metadata) - kept}
    assert added == {"tokenizer.ggml.model": "none", "llama.vocab_size": 5}
    assert skeleton.kinds["llama.vocab_size"] == U32
    assert skeleton.tensors == full.tensors


SCALARS: list[tuple[int, Value]] = [
    (0, 255),
    (1, -128),
    (2, 65535),
    (3, -32768),
    (4, (1 << 32) - 1),
    (5, -(1 << 31)),
    (6, struct.unpack("<f", struct.pack("<f", 0.1))[0]),
    (7, True),
    (10, (1 << 64) - 1),
    (11, -(1 << 63)),
    (12, 0.1),
]


@pytest.mark.parametrize(("kind", "value"), SCALARS)
def test_each_type_of_value_stays_what_it_is(tmp_path: Path, kind: int, value: int | float | bool) -> None:
    array = Elements(kind, 3, (value,) * 3)
    skeleton = skeleton_of(tmp_path, made({"llama.one": (kind, value), "llama.many": (ARRAY, array)}))
    assert (skeleton.kinds["llama.one"], skeleton.metadata["llama.one"]) == (kind, value)
    assert (skeleton.kinds["llama.many"], skeleton.metadata["llama.many"]) == (ARRAY, array)


def test_of_texts_their_number_is_kept(tmp_path: Path) -> None:
    labels: dict[str, Plain] = {"llama.classifier.output_labels": ["good", "bad", "ugly"]}
    skeleton = skeleton_of(tmp_path, header_of(tmp_path, llama(1, labels)))
    assert skeleton.metadata["llama.classifier.output_labels"] == Elements(STRING, 3)
    assert b"ugly" not in (tmp_path / "s.gguf").read_bytes()


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"tokenizer.ggml.tokens": (ARRAY, Elements(STRING, 6)), "llama.vocab_size": (U32, 7)}, 6),
        ({"llama.vocab_size": (U32, 7)}, 7),
        ({"llama.vocab_size": (10, 7)}, 7),
        ({}, 5),
    ],
)
def test_the_vocabulary_is_counted_as_llama_cpp_does(
    tmp_path: Path, metadata: dict[str, tuple[int, Value]], expected: int
) -> None:
    skeleton = skeleton_of(tmp_path, made(metadata))
    assert (skeleton.kinds["llama.vocab_size"], skeleton.metadata["llama.vocab_size"]) == (U32, expected)


def test_an_alignment_of_its_own_is_kept(tmp_path: Path) -> None:
    tensors = (EMBEDDING, Tensor("output.weight", F16, (3,), 6), Tensor("output_norm.weight", F16, (3,), 6))
    header = replace(made({"general.alignment": (U32, 512)}, tensors), alignment=512)
    skeleton = skeleton_of(tmp_path, header)
    assert (skeleton.alignment, skeleton.tensors) == (512, tensors)
    assert skeleton.file_bytes % 512 == 0


def test_shards_become_one_file(tmp_path: Path) -> None:
    split: dict[str, Plain] = {"split.no": 0, "split.count": 2, "split.tensors.count": 7}
    first = header_of(tmp_path, llama(2, split))
    rows = [Row("blk.2.ffn_up.weight", (64, 3), F16), Row("blk.2.attn_norm.weight", (5,))]
    second = header_of(tmp_path, gguf({"split.no": 1, "split.count": 2, "split.tensors.count": 7}, rows))
    skeleton = skeleton_of(tmp_path, first, second)
    assert skeleton.tensors == first.tensors + second.tensors
    assert not [key for key in skeleton.metadata if key.startswith("split.")]
    assert refused(first)[0] is Reason.MODEL_FILE_INVALID
    assert "in two shards" in refused(first, first)[1]


def test_a_model_of_a_gibibyte_takes_a_few_blocks(tmp_path: Path) -> None:
    tensors = [Tensor(f"blk.{n}.ffn_up.weight", F16, (4096, 4096), 1 << 25) for n in range(300)]
    path = tmp_path / "s.gguf"
    write_skeleton([made({}, [EMBEDDING, *tensors])], path)
    found = path.stat()
    assert found.st_size > 300 << 25
    if sys.platform != "win32":
        assert found.st_blocks * 512 < 64 << 10
        assert found.st_mode & 0o777 == 0o600


def test_it_replaces_what_is_there_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "s.gguf"
    path.write_bytes(b"something else")
    write_skeleton([made()], path)
    assert read_header(path).tensors == (EMBEDDING,)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_skeleton([made()], tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "s.gguf"]


def test_equal_shapes_share_a_key(tmp_path: Path) -> None:
    one = header_of(tmp_path, llama(2, {"general.name": "one", "tokenizer.chat_template": "x"}))
    two = header_of(tmp_path, llama(2, {"general.name": "two", "tokenizer.ggml.tokens": list("vwxyz")}))
    key = skeleton_key([one])
    assert len(key) == 64
    assert key == skeleton_key([two])
    assert key == skeleton_key([replace(one, metadata=dict(sorted(one.metadata.items(), reverse=True)))])


@pytest.mark.parametrize(
    "other",
    [
        llama(3),
        llama(2, {"llama.attention.head_count_kv": 1}),
        llama(2, {"llama.rope.freq_base": 5.0}),
        llama(2, {"llama.attention.head_count_kv": [2, 2]}),
        llama(2, {"tokenizer.ggml.tokens": list("uvwxyz")}),
        llama(2, {"general.alignment": 32}),
        llama(2, {"tokenizer.ggml.token_type_count": 2}),
        gguf({"general.architecture": "llama", "llama.vocab_size": 5}, llama_rows(2)),
    ],
)
def test_another_shape_has_another_key(tmp_path: Path, other: bytes) -> None:
    assert skeleton_key([header_of(tmp_path, llama(2))]) != skeleton_key([header_of(tmp_path, other)])


def test_the_key_tells_types_apart() -> None:
    signed, unsigned = made({"llama.x": (5, 1)}), made({"llama.x": (4, 1)})
    f16, i16 = Tensor("t", F16, (32,), 64), Tensor("t", 25, (32,), 64)
    wide, high = Tensor("t", F16, (32, 2), 128), Tensor("t", F16, (2, 32), 128)
    assert skeleton_key([signed]) != skeleton_key([unsigned])
    keys = {skeleton_key([made({}, [EMBEDDING, tensor])]) for tensor in (f16, i16, wide, high)}
    assert len(keys) == 4


HOSTILE = {
    "no tokens": made({"tokenizer.ggml.tokens": (ARRAY, Elements(STRING, 0))}),
    "too many tokens": made({"llama.vocab_size": (U32, (1 << 32) - 1)}),
    "less than no tokens": made({"llama.vocab_size": (5, -1)}),
    "no vocabulary": made({}, [Tensor("output.weight", F16, (64, 5), 640)]),
    "a long array": made({"llama.x": (ARRAY, Elements(U32, 1025))}),
    "many texts": made({"llama.x": (ARRAY, Elements(STRING, 1025))}),
    "a long text": made({"llama.x": (STRING, "x" * 256)}),
    "a text with a zero": made({"llama.x": (STRING, "none\0")}),
    "a text that was no UTF-8": made({"llama.x": (STRING, "none\ufffd")}),
    "a key of another script": made({"llama.größe": (U32, 1)}),
    "a long key": made({"llama." + "x" * 250: (U32, 1)}),
    "an architecture that is a namespace": made(architecture="tokenizer"),
    "an architecture inside a namespace": made(architecture="tokenizer.ggml"),
    "no architecture": made(architecture=""),
    "a tensor of an unknown type": made({}, [EMBEDDING, Tensor("t", 999, (8,), 32)]),
    "a long name": made({}, [EMBEDDING, Tensor("t" * 64, F16, (8,), 16)]),
    "a name with a zero": made({}, [EMBEDDING, Tensor("output.weight\0", F16, (8,), 16)]),
    "an empty tensor": made({}, [EMBEDDING, Tensor("t", F16, (0, 1 << 63), 0)]),
    "a tensor of exbibytes": made({}, [EMBEDDING, Tensor("t", F16, (1 << 60,), 1 << 61)]),
    "exbibytes in all": made({}, [EMBEDDING, *(Tensor(f"t{n}", F16, (1 << 36,), 1 << 37) for n in range(40))]),
    "no end of tensors": made({}, [EMBEDDING, *(Tensor(f"t{n:060}", F16, (1,), 2) for n in range(50_000))]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_has_no_skeleton_is_a_problem(tmp_path: Path, name: str) -> None:
    reason, words = refused(HOSTILE[name])
    assert reason in (Reason.MODEL_UNSUPPORTED, Reason.MODEL_FILE_INVALID)
    assert 0 < len(words) < 300
    with pytest.raises(UnreadableModelError):
        write_skeleton([HOSTILE[name]], tmp_path / "s.gguf")
    assert not list(tmp_path.iterdir())
