"""The engine for GGUF models: llama.cpp through the low-level calls of llama-cpp-python, many sequences at once.

Importing this package imports no native code; `probe` and `LlamaEngine.load` do.
"""

from vramd_worker.llama.llama_engine import LlamaEngine
from vramd_worker.llama.native import Build, probe
from vramd_worker.llama.parameters import LlamaSpec

__all__ = ["Build", "LlamaEngine", "LlamaSpec", "probe"]
