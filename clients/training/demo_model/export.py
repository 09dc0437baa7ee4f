"""Writes a model as a GGUF file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType
from numpy.typing import NDArray

from demo_model.domains import Domain
from demo_model.tokens import BEGIN_ID, CHAT_TEMPLATE, CONTROLS, END_ID, Vocabulary


def write_gguf(
    path: Path, domain: Domain, vocabulary: Vocabulary, weights: Mapping[str, NDArray[np.float32]] | None
) -> None:
    """Matrices as 16-bit floats, norms as 32-bit ones. Without weights a file of the tokenizer alone."""
    writer = GGUFWriter(path, "llama")
    shape = domain.shape
    writer.add_name(f"vramd {domain.name}")
    writer.add_author("the vramd project")
    writer.add_description(domain.description)
    writer.add_tags([domain.tag])
    writer.add_languages(["en"])
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_dimensions)
    writer.add_rope_freq_base(shape.rotary_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, vocabulary)
    for name, weight in (weights or {}).items():
        kind = np.float16 if weight.ndim == 2 else np.float32
        writer.add_tensor(name, np.ascontiguousarray(weight.astype(kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    kinds = [TokenType.CONTROL if token in CONTROLS else TokenType.NORMAL for token in vocabulary.tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(kinds)
    writer.add_token_merges(list(vocabulary.merges))
    writer.add_bos_token_id(BEGIN_ID)
    writer.add_eos_token_id(END_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
