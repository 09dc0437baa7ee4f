"""GGUF files that hold a vocabulary and nothing to compute with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from gguf import GGUFWriter, TokenType
from vramd_worker.llama.load import start_engine
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.tokenizing import Tokenizer
from vramd_worker.llama.vocabulary import vocabulary_of

NORMAL, CONTROL, USER_DEFINED, BYTE, UNKNOWN = (
    TokenType.NORMAL,
    TokenType.CONTROL,
    TokenType.USER_DEFINED,
    TokenType.BYTE,
    TokenType.UNKNOWN,
)
Token = tuple[str, TokenType]

SPM_BASE: list[Token] = [
    ("<unk>", UNKNOWN),
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    *((f"<0x{byte:02X}>", BYTE) for byte in range(256)),
    ("\u2581", NORMAL),
]
_OWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _OWN]
BPE_ALPHABET: list[Token] = [(chr(byte if byte in _OWN else 256 + _OTHERS.index(byte)), NORMAL) for byte in range(256)]


def write_vocabulary(
    path: Path,
    model: str,
    tokens: Sequence[Token],
    *,
    pre: str = "default",
    merges: Sequence[str] = ("t h",),
    name: str = "test",
    bos: int | None = None,
    unknown: int | None = None,
    space_prefix: bool | None = None,
) -> Path:
    """A file that llama.cpp loads with `vocab_only`."""
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    if model == "gpt2":
        writer.add_token_merges(list(merges))
    if bos is not None:
        writer.add_bos_token_id(bos)
    if unknown is not None:
        writer.add_unk_token_id(unknown)
    if space_prefix is not None:
        writer.add_add_space_prefix(space_prefix)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class Opened(NamedTuple):
    """A vocabulary in llama.cpp."""

    library: ModuleType
    model: NativeModel
    tokenizer: Tokenizer


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    library = start_engine(untested=False)
    parameters = library.llama_model_default_params()
    parameters.vocab_only = True
    handle = library.llama_model_load_from_file(bytes(path), parameters)
    assert handle is not None
    model = NativeModel(library, int(handle))
    try:
        yield Opened(library, model, Tokenizer(library, model, vocabulary_of(library, model)))
    finally:
        model.close()
