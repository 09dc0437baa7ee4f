"""What llama.cpp refuses, or gives itself up over, is heard before a load where it can be, and else once only."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import vramd
from gguf import GGUFWriter
from support.gguf_models import Shape, random_bert, random_llama
from support.supervisor_process import SupervisorProcess

pytest.importorskip("llama_cpp")

Change = Callable[[GGUFWriter], None]


def without(key: str) -> Change:
    def change(writer: GGUFWriter) -> None:
        del writer.kv_data[0][key]

    return change


def in_doubles(name: str) -> Change:
    """A tensor of a type that llama.cpp reads and cannot compute with."""

    def change(writer: GGUFWriter) -> None:
        tensor = writer.tensors[-1].pop(name).tensor
        assert tensor is not None
        writer.add_tensor(name, tensor.astype(np.float64))

    return change


def an_adapter(writer: GGUFWriter) -> None:
    """As some are written: nothing but the names of its tensors tells it from a model."""
    writer.add_string("adapter.type", "lora")
    tensors = writer.tensors[-1]
    for name in [name for name in tensors if "attn" in name]:
        tensors[f"{name}.lora_a"] = tensors.pop(name)


FORESEEN: Mapping[str, tuple[Change, str]] = {
    "strange-writer": (lambda _: None, "unknown model architecture: 'strange'"),
    "no-tokenizer-writer": (without("tokenizer.ggml.model"), "tokenizer.ggml.model"),
    "wordless-writer": (lambda writer: writer.add_tokenizer_model("none"), "the file has no tokenizer"),
    "unknown-tokenizer-writer": (lambda writer: writer.add_tokenizer_model("dreamt"), "unknown tokenizer: 'dreamt'"),
    "adapter-writer": (an_adapter, "attn"),
    "blocks-0-writer": (lambda writer: writer.add_block_count(0), "GGML_ASSERT(hparams.n_layer_all > 0"),
    "rope-writer": (
        lambda writer: writer.add_string("llama.rope.scaling.type", "dreamt"),
        "GGML_ASSERT(hparams.rope_scaling_type_train",
    ),
    "ranker-writer": (lambda writer: writer.add_uint32("llama.pooling_type", 4), "ranks texts"),
    "pools-oddly-writer": (lambda writer: writer.add_uint32("llama.pooling_type", 7), "pooled in an unknown way"),
    "twice-writer": (lambda _: None, "GGML_ASSERT(id_to_token.size() == token_to_id.size())"),
}
"""What is odd about each, and the words in which that is told."""


@pytest.fixture(scope="module")
def folder(folder: Path) -> Path:
    for name, (change, _) in FORESEEN.items():
        words = ("the", "the") if name == "twice-writer" else ("the", "a")
        architecture = "strange" if name == "strange-writer" else "llama"
        random_llama(folder / f"{name}.gguf", words=words, architecture=architecture, change=change)
    random_llama(folder / "doubles.gguf", change=in_doubles("blk.0.ffn_norm.weight"))
    random_llama(folder / "heads-of-40.gguf", Shape(embedding=160))
    # The only ones that can be used.
    random_llama(folder / "zz-writer.gguf", Shape(embedding=256))
    random_bert(folder / "zz-embed.gguf")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[vramd.Client]:
    with SupervisorProcess(arguments=("--port", "0", "--models", str(folder))) as supervisor:
        yield supervisor.client()


def problem(client: vramd.Client, model: str) -> str:
    return client.model(model).problem or ""


def test_a_task_never_gets_what_cannot_be_used(client: vramd.Client) -> None:
    """They are more than are planned for one choice, and each comes before the one that can be used."""
    choice = client.select("writing")
    assert choice.model == "zz-writer"
    assert client.generate("task:writing", "the", max_tokens=2).finish is not None
    assert client.embed("task:embedding", "the")


@pytest.mark.parametrize("name", FORESEEN)
def test_what_is_refused_is_known_before_a_load(client: vramd.Client, name: str) -> None:
    words = FORESEEN[name][1]
    loads = [decision for decision in client.decisions() if decision.model == name and decision.kind == "load"]
    for call in (client.plan, client.load):
        with pytest.raises(vramd.VramdError) as failed:
            call(name)
        assert failed.value.reason in {"MODEL_UNSUPPORTED", "MODEL_FILE_INVALID"}
        assert words in str(failed.value)
    assert words in problem(client, name)
    assert loads == []


def test_what_ends_a_process_while_it_loads_is_tried_once(client: vramd.Client) -> None:
    words = "binary_op: unsupported types"
    assert client.plan("doubles").fits
    for _ in range(2):
        with pytest.raises(vramd.VramdError, match=words) as failed:
            client.load("doubles")
        assert failed.value.reason == "MODEL_UNSUPPORTED"
    with pytest.raises(vramd.VramdError, match=words):
        client.plan("doubles", context=256)
    assert words in problem(client, "doubles")
    loads = [decision for decision in client.decisions() if decision.model == "doubles" and decision.kind == "load"]
    assert len(loads) == 1


def test_a_file_that_is_another_is_looked_at_anew(client: vramd.Client, folder: Path) -> None:
    with pytest.raises(vramd.VramdError):
        client.plan("wordless-writer")
    random_llama(folder / "wordless-writer.gguf", Shape(layers=1))
    assert client.plan("wordless-writer").fits
    client.load("wordless-writer")
    client.unload("wordless-writer")


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "iq4_nl"])
def test_a_cache_that_the_heads_do_not_allow_is_refused_by_the_plan(client: vramd.Client, kind: str) -> None:
    for call in (client.plan, client.load):
        with pytest.raises(vramd.VramdError, match="does not divide n_embd_head_k=40"):
            call("heads-of-40", kv_type=kind)
    assert problem(client, "heads-of-40") == ""
    assert client.plan("heads-of-40").fits
