"""Which variables a worker gets: by a list, and by what the configuration names."""

import pytest
from vramd_supervisor.workers.worker_environment import worker_environment

NEVER = {
    "LD_PRELOAD": "/tmp/mine.so",
    "LD_AUDIT": "/tmp/mine.so",
    "DYLD_INSERT_LIBRARIES": "/tmp/mine.dylib",
    "GGML_BACKEND_PATH": "/tmp/mine.so",
    "GGML_METAL_PATH_RESOURCES": "/tmp",
    "CUDA_INJECTION64_PATH": "/tmp/mine.so",
    "HSA_TOOLS_LIB": "/tmp/mine.so",
    "VK_LAYER_PATH": "/tmp",
    "PYTHONPATH": "/tmp",
    "PYTHONSTARTUP": "/tmp/mine.py",
    "LLAMA_ARG_MODEL": "m",
    "GGML_OTHER": "1",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "VRAMD_TOKEN": "secret",
    "BASH_ENV": "/tmp/mine.sh",
}
ALWAYS = {
    "PATH": "/usr/bin",
    "HOME": "/home/me",
    "LD_LIBRARY_PATH": "/opt/cuda",
    "CUDA_VISIBLE_DEVICES": "1",
    "HIP_VISIBLE_DEVICES": "1",
    "ROCR_VISIBLE_DEVICES": "1",
    "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
    "ONEAPI_DEVICE_SELECTOR": "level_zero:0",
    "ZES_ENABLE_SYSMAN": "1",
    "VK_DRIVER_FILES": "/usr/share/vulkan/icd.d/nvidia.json",
    "GGML_VK_VISIBLE_DEVICES": "0",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1",
    "XDG_CACHE_HOME": "/home/me/.cache",
    "SYSTEMROOT": r"C:\Windows",
    "TEMP": r"C:\Temp",
}
OURS = {"GGML_NO_BACKTRACE": "1"}


def test_what_a_card_needs_reaches_a_worker_and_nothing_else() -> None:
    assert worker_environment(NEVER | ALWAYS, ()) == ALWAYS | OURS


@pytest.mark.parametrize("name", NEVER)
def test_what_the_configuration_names_reaches_it(name: str) -> None:
    assert worker_environment(NEVER | ALWAYS, (name,)) == ALWAYS | OURS | {name: NEVER[name]}


def test_an_assertion_starts_no_debugger_whatever_is_named() -> None:
    assert worker_environment({"GGML_NO_BACKTRACE": "0"}, ("GGML_NO_BACKTRACE",)) == OURS
