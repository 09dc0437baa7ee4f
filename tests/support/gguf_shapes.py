"""GGUF models of zeros in the shapes of many architectures, as small as llama.cpp takes them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, TokenType
from support.gguf_models import (
    WORDS,
    Shape,
    add_vocabulary,
    random_bert,
    random_llama,
    reciting_llama,
    vocabulary,
)

EMBEDDING, TOKENS, HEADS, HEAD, FORWARD = 256, 96, 4, 64, 320
"""Unless a recipe says otherwise. CUDA has flash attention for heads of this size."""
SPELLING_TOKENS = 320
F16, Q8_0, Q4_0 = GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0
INNER, STATE, KERNEL, RANK = 2 * EMBEDDING, 16, 4, 8
"""Of state spaces."""
Key = str | int | float | bool | list[int] | list[bool] | list[str]

STATE_SPACE: dict[str, Key] = {
    "ssm.conv_kernel": KERNEL,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": RANK,
}


def made(
    path: Path,
    architecture: str,
    keys: Mapping[str, Key],
    tensors: Mapping[str, tuple[int, ...]],
    *,
    most_tensors: int = 0,
    tokens: int = TOKENS,
    matrices: GGMLQuantizationType = F16,
    speaks: bool = False,
) -> Path:
    """A model of zeros, in shards of so many tensors. A tensor's lengths are in numpy's order: that of rows last.

    One that `speaks` has random weights and a vocabulary that can spell, of `SPELLING_TOKENS`.
    """
    random = np.random.default_rng(1)
    writer = GGUFWriter(path, architecture, split_max_tensors=most_tensors)
    common: dict[str, Key] = {
        "context_length": 2048,
        "embedding_length": EMBEDDING,
        "feed_forward_length": FORWARD,
        "attention.head_count": HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    for name, value in {**common, **keys}.items():
        add_key(writer, f"{architecture}.{name}", value)
    if speaks:
        add_vocabulary(writer, vocabulary(SPELLING_TOKENS, WORDS))
    else:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(["<unk>", "<s>", "</s>", *(f"w{number}" for number in range(tokens - 3))])
        writer.add_token_types(
            [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.NORMAL] * (tokens - 3)
        )
        writer.add_token_scores([0.0] * tokens)
    for name, lengths in tensors.items():
        if speaks:
            values = np.ones(lengths) if "norm" in name else random.standard_normal(lengths) * 0.05
            values = -np.ones(lengths) if name.endswith("ssm_a") else values
            is_matrix = len(lengths) > 1 and "ssm" not in name and "conv" not in name
            writer.add_tensor(name, values.astype(np.float16 if is_matrix else np.float32))
        elif len(lengths) == 1 or "ssm" in name or "conv" in name:
            writer.add_tensor(name, np.zeros(lengths, dtype=np.float32))
        elif matrices is F16:
            writer.add_tensor(name, np.zeros(lengths, dtype=np.float16))
        else:
            count, size_bytes = GGML_QUANT_SIZES[matrices]
            row = lengths[-1] // count * size_bytes
            writer.add_tensor(name, np.zeros((*lengths[:-1], row), dtype=np.uint8), raw_dtype=matrices)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_key(writer: GGUFWriter, key: str, value: Key) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def outer(*, tied: bool = False, tokens: int = TOKENS) -> dict[str, tuple[int, ...]]:
    output = {} if tied else {"output.weight": (tokens, EMBEDDING)}
    return {"token_embd.weight": (tokens, EMBEDDING), "output_norm.weight": (EMBEDDING,), **output}


def attention(layer: int, *, kv_heads: int = 2) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.attn_norm.weight": (EMBEDDING,),
        f"blk.{layer}.attn_q.weight": (HEADS * HEAD, EMBEDDING),
        f"blk.{layer}.attn_k.weight": (kv_heads * HEAD, EMBEDDING),
        f"blk.{layer}.attn_v.weight": (kv_heads * HEAD, EMBEDDING),
        f"blk.{layer}.attn_output.weight": (EMBEDDING, HEADS * HEAD),
    }


def dense(layer: int) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.ffn_norm.weight": (EMBEDDING,),
        f"blk.{layer}.ffn_gate.weight": (FORWARD, EMBEDDING),
        f"blk.{layer}.ffn_up.weight": (FORWARD, EMBEDDING),
        f"blk.{layer}.ffn_down.weight": (EMBEDDING, FORWARD),
    }


def experts(layer: int, count: int, forward: int) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.ffn_norm.weight": (EMBEDDING,),
        f"blk.{layer}.ffn_gate_inp.weight": (count, EMBEDDING),
        f"blk.{layer}.ffn_gate_exps.weight": (count, forward, EMBEDDING),
        f"blk.{layer}.ffn_up_exps.weight": (count, forward, EMBEDDING),
        f"blk.{layer}.ffn_down_exps.weight": (count, EMBEDDING, forward),
    }


def shared_expert(layer: int, forward: int) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.ffn_gate_shexp.weight": (forward, EMBEDDING),
        f"blk.{layer}.ffn_up_shexp.weight": (forward, EMBEDDING),
        f"blk.{layer}.ffn_down_shexp.weight": (EMBEDDING, forward),
    }


def tied_llama(path: Path) -> Path:
    keys: dict[str, Key] = {"block_count": 2, "attention.head_count_kv": 2, "rope.scaling.type": "yarn"}
    return made(path, "llama", keys, {**outer(tied=True), **attention(0), **dense(0), **attention(1), **dense(1)})


def padded_llama(path: Path) -> Path:
    """Says another size of the vocabulary than it has tokens; llama.cpp goes by the tokens."""
    keys: dict[str, Key] = {"block_count": 1, "attention.head_count_kv": 2, "vocab_size": TOKENS + 32}
    return made(path, "llama", keys, {**outer(), **attention(0), **dense(0)})


def plain_llama(
    path: Path, *, layers: int = 3, kv_heads: int = 2, tokens: int = TOKENS, matrices: GGMLQuantizationType = F16
) -> Path:
    keys: dict[str, Key] = {"block_count": layers, "attention.head_count_kv": kv_heads}
    tensors = outer(tokens=tokens)
    for layer in range(layers):
        tensors |= attention(layer, kv_heads=kv_heads) | dense(layer)
    return made(path, "llama", keys, tensors, tokens=tokens, matrices=matrices)


def gemma3(path: Path, *, speaks: bool = False) -> Path:
    keys: dict[str, Key] = {
        "block_count": 6,
        "attention.head_count_kv": 2,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.sliding_window": 64,
        "attention.sliding_window_pattern": 3,
        "rope.freq_base": 1e6,
    }
    tensors = outer(tied=True, tokens=SPELLING_TOKENS if speaks else TOKENS)
    for layer in range(6):
        tensors |= attention(layer) | dense(layer)
        for name, length in (("attn_q_norm", HEAD), ("attn_k_norm", HEAD)):
            tensors[f"blk.{layer}.{name}.weight"] = (length,)
        for name in ("post_attention_norm", "post_ffw_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = (EMBEDDING,)
    return made(path, "gemma3", keys, tensors, speaks=speaks)


def llama_experts(path: Path) -> Path:
    keys: dict[str, Key] = {"block_count": 2, "attention.head_count_kv": 2, "expert_count": 4, "expert_used_count": 2}
    tensors = outer()
    for layer in range(2):
        tensors |= attention(layer) | experts(layer, 4, FORWARD)
    return made(path, "llama", keys, tensors)


def qwen2moe(path: Path) -> Path:
    keys: dict[str, Key] = {
        "block_count": 2,
        "attention.head_count_kv": 2,
        "expert_count": 4,
        "expert_used_count": 2,
        "expert_feed_forward_length": 32,
        "expert_shared_feed_forward_length": 64,
    }
    tensors = outer()
    for layer in range(2):
        tensors |= attention(layer) | experts(layer, 4, 32) | shared_expert(layer, 64)
        for name, heads in (("q", HEADS), ("k", 2), ("v", 2)):
            tensors[f"blk.{layer}.attn_{name}.bias"] = (heads * HEAD,)
        tensors[f"blk.{layer}.ffn_gate_inp_shexp.weight"] = (EMBEDDING,)
    return made(path, "qwen2moe", keys, tensors)


def deepseek2(path: Path) -> Path:
    """Multi-head latent attention: one compressed vector of 512 values and 64 of the position for each token."""
    latent, rope, plain = 512, 64, 128
    keys: dict[str, Key] = {
        "block_count": 2,
        "attention.head_count_kv": 1,
        "attention.q_lora_rank": 24,
        "attention.kv_lora_rank": latent,
        "attention.key_length": latent + rope,
        "attention.value_length": latent,
        "attention.key_length_mla": plain + rope,
        "attention.value_length_mla": HEAD,
        "rope.dimension_count": rope,
        "leading_dense_block_count": 1,
        "expert_count": 4,
        "expert_used_count": 2,
        "expert_shared_count": 1,
        "expert_feed_forward_length": 32,
        "expert_weights_scale": 1.0,
        "expert_gating_func": 2,
    }
    tensors = outer()
    for layer in range(2):
        tensors |= {
            f"blk.{layer}.attn_norm.weight": (EMBEDDING,),
            f"blk.{layer}.attn_q_a_norm.weight": (24,),
            f"blk.{layer}.attn_kv_a_norm.weight": (latent,),
            f"blk.{layer}.attn_q_a.weight": (24, EMBEDDING),
            f"blk.{layer}.attn_q_b.weight": (HEADS * (plain + rope), 24),
            f"blk.{layer}.attn_kv_a_mqa.weight": (latent + rope, EMBEDDING),
            f"blk.{layer}.attn_k_b.weight": (HEADS, latent, plain),
            f"blk.{layer}.attn_v_b.weight": (HEADS, HEAD, latent),
            f"blk.{layer}.attn_output.weight": (EMBEDDING, HEADS * HEAD),
        }
    tensors |= dense(0) | experts(1, 4, 32) | shared_expert(1, 32)
    return made(path, "deepseek2", keys, tensors)


def state_space(layer: int, *, normed: bool = False) -> dict[str, tuple[int, ...]]:
    """A block of Mamba; Jamba's has norms between its steps."""
    block = f"blk.{layer}."
    norms = {"ssm_dt_norm": (RANK,), "ssm_b_norm": (STATE,), "ssm_c_norm": (STATE,)} if normed else {}
    return {
        f"{block}attn_norm.weight": (EMBEDDING,),
        f"{block}ssm_in.weight": (2 * INNER, EMBEDDING),
        f"{block}ssm_conv1d.weight": (INNER, KERNEL),
        f"{block}ssm_conv1d.bias": (INNER,),
        f"{block}ssm_x.weight": (RANK + 2 * STATE, INNER),
        f"{block}ssm_dt.weight": (INNER, RANK),
        f"{block}ssm_dt.bias": (INNER,),
        f"{block}ssm_a": (INNER, STATE),
        f"{block}ssm_d": (INNER,),
        f"{block}ssm_out.weight": (EMBEDDING, INNER),
        **{f"{block}{name}.weight": lengths for name, lengths in norms.items()},
    }


def mamba(path: Path, *, speaks: bool = False) -> Path:
    keys: dict[str, Key] = {"block_count": 2, "feed_forward_length": 0, "attention.head_count": 0, **STATE_SPACE}
    return made(
        path,
        "mamba",
        keys,
        {**outer(tied=True, tokens=SPELLING_TOKENS if speaks else TOKENS), **state_space(0), **state_space(1)},
        speaks=speaks,
    )


def jamba(path: Path) -> Path:
    """State spaces with one layer of attention between them, and a mixture of experts in the last."""
    keys: dict[str, Key] = {
        "block_count": 3,
        "attention.head_count_kv": [0, 2, 0],
        "expert_count": 4,
        "expert_used_count": 2,
        **STATE_SPACE,
    }
    tensors = {**outer(), **state_space(0, normed=True), **attention(1), **state_space(2, normed=True)}
    return made(path, "jamba", keys, {**tensors, **dense(0), **dense(1), **experts(2, 4, FORWARD)})


def lfm2(path: Path, *, speaks: bool = False) -> Path:
    """Short convolutions and attention in turns: which is which, an array says."""
    keys: dict[str, Key] = {"block_count": 2, "attention.head_count_kv": [0, 2], "shortconv.l_cache": 3}
    tensors = {
        name: lengths
        for name, lengths in outer(tied=True, tokens=SPELLING_TOKENS if speaks else TOKENS).items()
        if name != "output_norm.weight"
    }
    tensors |= {
        "token_embd_norm.weight": (EMBEDDING,),
        "blk.0.attn_norm.weight": (EMBEDDING,),
        "blk.0.shortconv.conv.weight": (EMBEDDING, 3),
        "blk.0.shortconv.in_proj.weight": (3 * EMBEDDING, EMBEDDING),
        "blk.0.shortconv.out_proj.weight": (EMBEDDING, EMBEDDING),
        "blk.1.attn_q_norm.weight": (HEAD,),
        "blk.1.attn_k_norm.weight": (HEAD,),
    }
    return made(path, "lfm2", keys, {**tensors, **dense(0), **attention(1), **dense(1)}, speaks=speaks)


def classifier(path: Path) -> Path:
    """Its number of outputs is that of their names."""
    keys: dict[str, Key] = {
        "block_count": 1,
        "attention.head_count_kv": 2,
        "classifier.output_labels": ["good", "bad", "ugly"],
    }
    tensors = {**outer(), **attention(0), **dense(0), "cls.output.weight": (3, EMBEDDING)}
    return made(
        path,
        "qwen3",
        {**keys, "attention.key_length": HEAD, "attention.value_length": HEAD},
        {**tensors, "blk.0.attn_q_norm.weight": (HEAD,), "blk.0.attn_k_norm.weight": (HEAD,)},
    )


MODELS: dict[str, Callable[[Path], Path]] = {
    "llama": random_llama,
    "llama of more layers": lambda path: random_llama(path, Shape(layers=5, kv_heads=4, vocabulary=1500)),
    "one head for all": lambda path: plain_llama(path, kv_heads=1),
    "heads of their own": lambda path: plain_llama(path, kv_heads=HEADS),
    "large vocabulary": lambda path: plain_llama(path, tokens=20_000),
    "Q8_0": lambda path: plain_llama(path, matrices=Q8_0),
    "Q4_0": lambda path: plain_llama(path, matrices=Q4_0),
    "reciting": lambda path: reciting_llama(path, ["hello", "world"]),
    "bert": random_bert,
    "tied": tied_llama,
    "padded vocabulary": padded_llama,
    "gemma3": gemma3,
    "llama of experts": llama_experts,
    "qwen2moe": qwen2moe,
    "deepseek2": deepseek2,
    "mamba": mamba,
    "jamba": jamba,
    "lfm2": lfm2,
    "classifier": classifier,
}
