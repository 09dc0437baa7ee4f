"""The model of random weights that benchmarks use."""

from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader
from vramd_bench import random_model
from vramd_bench.random_model import END, Shape

SMALL = Shape("small", 64, 2, 2, 1, 96, 320, 128)


def test_it_has_its_shape(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    random_model.write(file, SMALL)
    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    assert len(tensors) == 2 + 7 * 2 + 1 + 2 * 2
    packed = {tensor.tensor_type for name, tensor in tensors.items() if "norm" not in name}
    assert packed == {GGMLQuantizationType.Q8_0}
    assert tuple(tensors["blk.1.attn_k.weight"].shape) == (64, 32)
    assert not tensors["output.weight"].data[END].any()


def test_it_is_always_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    for file in (one, other):
        random_model.write(file, SMALL)
    assert one.read_bytes() == other.read_bytes()


def test_the_usual_one_has_the_size_that_the_bars_are_for() -> None:
    shape = random_model.USUAL
    parameters = sum(rows * columns for _, rows, columns in random_model._matrices(shape))
    assert 245_000_000 < parameters < 247_000_000
    assert all(columns % 32 == 0 for _, _, columns in random_model._matrices(shape))
