"""The engine for GGUF models: runs many sequences at once by the low-level calls of llama-cpp-python.

Importing this package imports no native code; `probe` and `LlamaEngine.load` do.
"""

from vramd_worker.llama.llama_engine import LlamaEngine
from vramd_worker.llama.native import Build, probe
from vramd_worker.llama.parameters import LlamaSpec

__all__ = ["Build", "LlamaEngine", "LlamaSpec", "probe"]
