"""Shapes of models, as their headers tell them, for tests of formulas."""

from vramd_supervisor.domain.catalog import Shape

MIB = 1 << 20
LLAMA_8B = Shape(
    layers=32,
    embedding=4096,
    feed_forward=14336,
    heads=32,
    kv_heads=(8,) * 32,
    key_length=128,
    value_length=128,
    vocabulary=128256,
    input_bytes=282 * MIB,
    output_bytes=411 * MIB,
    layer_bytes=(125 * MIB,) * 32,
)
