"""The variables of the supervisor's environment that its children get. Pure: a list, and what the configuration adds.

Left out on purpose are variables by which a process loads code of somebody's choice: PYTHON*, LD_PRELOAD, LD_AUDIT,
DYLD_INSERT_LIBRARIES, GGML_BACKEND_PATH, GGML_METAL_PATH_RESOURCES, CUDA_INJECTION64_PATH, HSA_TOOLS_LIB,
VK_LAYER_PATH. `[server] worker_environment` lets one in by its name.
"""

from collections.abc import Collection, Mapping

_PROCESS = """
PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ TMPDIR TMP TEMP XDG_RUNTIME_DIR
SYSTEMROOT SYSTEMDRIVE WINDIR USERPROFILE APPDATA LOCALAPPDATA PROGRAMDATA PROGRAMFILES PATHEXT COMSPEC
NUMBER_OF_PROCESSORS PROCESSOR_ARCHITECTURE
"""
"""Needed by every process."""

_LIBRARIES = """
LD_LIBRARY_PATH DYLD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH
CUDA_PATH CUDA_HOME HIP_PATH ROCM_PATH ROCM_HOME HSA_PATH ONEAPI_ROOT
"""
"""Where it finds its libraries."""

_CARDS = """
CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES CUDA_MODULE_LOADING CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES
HIP_VISIBLE_DEVICES HIP_PLATFORM ROCR_VISIBLE_DEVICES GPU_DEVICE_ORDINAL GPU_MAX_HW_QUEUES
HSA_OVERRIDE_GFX_VERSION HSA_ENABLE_SDMA HSA_XNACK
ONEAPI_DEVICE_SELECTOR ZE_AFFINITY_MASK ZE_FLAT_DEVICE_HIERARCHY ZES_ENABLE_SYSMAN
VK_ICD_FILENAMES VK_DRIVER_FILES VK_ADD_DRIVER_FILES VK_LOADER_DRIVERS_SELECT VK_LOADER_DRIVERS_DISABLE
VK_INSTANCE_LAYERS VK_LOADER_LAYERS_ENABLE VK_LOADER_LAYERS_DISABLE AMD_VULKAN_ICD MESA_VK_DEVICE_SELECT
XDG_DATA_DIRS
"""
"""Which cards there are, and how they are used."""

_CACHES = """
XDG_CACHE_HOME CUDA_CACHE_PATH CUDA_CACHE_MAXSIZE CUDA_CACHE_DISABLE AMD_COMGR_CACHE AMD_COMGR_CACHE_DIR
SYCL_CACHE_DIR SYCL_CACHE_PERSISTENT MESA_SHADER_CACHE_DIR MESA_SHADER_CACHE_DISABLE MESA_SHADER_CACHE_MAX_SIZE
__GL_SHADER_DISK_CACHE __GL_SHADER_DISK_CACHE_PATH __GL_SHADER_DISK_CACHE_SIZE
"""
"""Where drivers keep compiled shaders and kernels: without them each process compiles again."""

KEPT_VARIABLES = frozenset(" ".join((_PROCESS, _LIBRARIES, _CARDS, _CACHES)).split())

KEPT_PREFIXES = (
    "GGML_CANN_",
    "GGML_CPU_",
    "GGML_CUDA_",
    "GGML_HIP_",
    "GGML_METAL_",
    "GGML_OPENCL_",
    "GGML_OP_OFFLOAD_",
    "GGML_SCHED_",
    "GGML_SYCL_",
    "GGML_VK_",
)
"""How ggml's backends are set up: each has a dozen switches, which change from version to version."""

LEFT_OUT = frozenset({"GGML_METAL_PATH_RESOURCES"})
"""Names with those prefixes that are left out: a folder that code is compiled from."""


def worker_environment(own: Mapping[str, str], named: Collection[str]) -> dict[str, str]:
    """Returns the part of the supervisor's environment that a child gets; `named` are kept whatever they are."""
    kept = {name: value for name, value in own.items() if name in named or _is_kept(name)}
    # An assertion in ggml otherwise starts a debugger from PATH and holds the memory meanwhile.
    return kept | {"GGML_NO_BACKTRACE": "1"}


def _is_kept(name: str) -> bool:
    return name in KEPT_VARIABLES or (name.startswith(KEPT_PREFIXES) and name not in LEFT_OUT)
