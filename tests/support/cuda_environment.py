"""llama-cpp-python for CUDA, compiled on this machine, in an environment of its own."""

import contextlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import psutil
from vramd_worker.llama.native import TESTED_VERSIONS


def made(folder: Path, limit_s: float) -> Path:
    """An environment that has all that this one has, but llama.cpp for CUDA; its interpreter.

    One that was finished before is taken as it is. Raises CalledProcessError, TimeoutError.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "done"
    if done.exists():
        return python
    venv.create(folder, clear=True, with_pip=True)
    [site] = folder.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages")
    here = [entry for entry in sys.path if entry.endswith("-packages")]
    (site / "beside.pth").write_text("".join(f"import site; site.addsitedir({one!r})\n" for one in here), "utf-8")
    [pinned] = TESTED_VERSIONS
    wanted = ("--no-deps", "--no-cache-dir", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={pinned}")
    # Of this machine's card alone: all that CUDA knows take half an hour.
    flags = {"CMAKE_ARGS": "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=native"}
    parallel = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)}
    command = [str(python), "-m", "pip", "install", "--ignore-installed", *wanted]
    with subprocess.Popen(command, env={**os.environ, **flags, **parallel}) as process:
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            raise TimeoutError(f"the build was not done after {limit_s:.0f} s") from None
    if code:
        raise subprocess.CalledProcessError(code, command)
    done.touch()
    return python
