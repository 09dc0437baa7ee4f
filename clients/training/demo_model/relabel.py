"""Writes what a model's file says of itself (name, description, tags, template) anew; its weights stay, bit by bit.

    python -m demo_model.relabel {companion,coder,mathematician} FILE NEW_FILE

Needs the extras `train` and `llama`.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from numpy.typing import NDArray

from demo_model.domains import DOMAINS
from demo_model.export import write_gguf
from demo_model.tokens import Vocabulary


def read_vocabulary(reader: GGUFReader) -> Vocabulary:
    """Raises KeyError for a file without a tokenizer."""
    tokens, merges = (reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    return Vocabulary(tuple(tokens), tuple(merges))


def read_weights(reader: GGUFReader) -> dict[str, NDArray[np.float32]]:
    """By name, rows first. 32 bits hold what 16 bits held, so that nothing is rounded when it is written again."""
    return {tensor.name: tensor.data.astype(np.float32) for tensor in reader.tensors}


def main() -> int:
    """Prints the SHA-256 of the new file."""
    domain, path, new_path = DOMAINS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    reader = GGUFReader(path)
    write_gguf(new_path, domain, read_vocabulary(reader), read_weights(reader))
    print(f"sha256 {hashlib.sha256(new_path.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
