"""A supervisor that belongs to this program: started by it, ended with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vramd_common.handshake import Ready
from vramd_common.rendezvous import RuntimeDir

from vramd import launching
from vramd.client import Client
from vramd.errors import StartFailed, VramdError
from vramd.finding import PathLike

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.async_client import AsyncClient

START_LIMIT_S = 60.0
END_LIMIT_S = 60.0
"""Limit for a supervisor that has agreed to end: requests of other programs may get 30 s, and each worker some more."""

ASK_S = 10.0
"""For a supervisor to agree; a busy machine holds it up."""

GRACE_S = 10.0
"""For one that does not agree, until it is killed. By itself it takes `owner_grace_s` (2 s), and the end of workers."""


class Supervisor:
    """A supervisor as a child of this program, with a client for it. Use it in a `with` block, or `stop` it.

    It ends with this program, however that ends: its stdin is a pipe that the system closes. Neither Ctrl-C in the
    terminal nor the end of a forked child ends it. Needs the extra `server` in the same environment.

    >>> with vramd.Supervisor.start(config="vramd.toml", budgets={"card": "2GiB"}) as supervisor:
    ...     supervisor.client.chat("talker", "Say hello.", max_tokens=3).finish.usage.completion_tokens
    3
    """

    client: Client
    """Connected to it; closed with it."""
    address: str
    """host:port."""
    pid: int
    runtime_dir: Path
    """The folder where other programs of this user find it: `vramd ps --runtime-dir …`."""

    def __init__(self, process: subprocess.Popen[bytes], folder: RuntimeDir, found: Ready, temporary: bool) -> None:
        self.client = Client(folder.path)
        self.address = self.client.address
        self.pid = found.pid
        self.runtime_dir = folder.path
        temporary_dir = folder.path if temporary else None
        wrapped = None if found.pid == process.pid else launching.Wrapped(found.pid)
        self._finalizer = weakref.finalize(self, _end, os.getpid(), process, self.client, temporary_dir, wrapped)

    def __repr__(self) -> str:
        return f"<vramd.Supervisor {self.pid} at {self.address}{'' if self._finalizer.alive else ', stopped'}>"

    @classmethod
    def start(
        cls,
        *,
        models: PathLike | Sequence[PathLike] = (),
        config: PathLike | None = None,
        budgets: Mapping[str, str | int] | None = None,
        runtime_dir: PathLike | None = None,
        host: str | None = None,
        port: int = 0,
        timeout_s: float = START_LIMIT_S,
        serve: Sequence[str] = launching.SERVE,
    ) -> Self:
        """Starts one, and waits until it answers. It blocks: in an event loop, call it by `asyncio.to_thread`.

        `models` are folders with GGUF files; `config` is a TOML file; `budgets` are bytes, or sizes like "6GiB", by
        device; port 0 picks a free one. Without a `runtime_dir` it gets a temporary one, which is removed with it,
        unless this program is killed. `serve` is the command that is called, for programs that are shipped without
        Python. The environment is this program's, VRAMD_* included.

        Raises:
            StartFailed: A folder of models does not exist; or no supervisor answers within `timeout_s`:
                `metadata["log"]` has the end of its log.

        >>> supervisor = vramd.Supervisor.start(config="vramd.toml")
        >>> [model.id for model in supervisor.client.models()]
        ['talker']
        >>> supervisor.stop()
        """
        folders = [models] if isinstance(models, str) or not isinstance(models, Sequence) else models
        for one in folders:
            if not Path(one).exists():
                raise StartFailed("START_FAILED", f"there is no folder of models {Path(one).absolute()}")
        arguments = ["--lifeline", "stdin", "--port", str(port)]
        arguments += [f"--models={Path(folder).absolute()}" for folder in folders]
        arguments += [f"--budget={device}={size}" for device, size in (budgets or {}).items()]
        if config is not None:
            arguments.append(f"--config={Path(config).absolute()}")
        if host is not None:
            arguments.append(f"--host={host}")
        folder = RuntimeDir(Path(runtime_dir or tempfile.mkdtemp(prefix="vramd-")).absolute())
        temporary = None if runtime_dir else folder.path
        process = None
        try:
            launched = launching.launch(folder, [*serve, *arguments], subprocess.PIPE)
            process = launched.process
            found = launched.wait_until_ready(timeout_s)
            return cls(process, folder, found, temporary is not None)
        except BaseException:
            _end(os.getpid(), process, None, temporary)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def async_client(self) -> AsyncClient:
        """A new client for an event loop; close it before the supervisor.

        >>> async def main(supervisor: vramd.Supervisor) -> list[str]:
        ...     async with supervisor.async_client() as client:
        ...         return [model.id for model in await client.models()]
        >>> with vramd.Supervisor.start(config="vramd.toml") as supervisor:
        ...     asyncio.run(main(supervisor))
        ['talker']
        """
        from vramd.async_client import AsyncClient  # noqa: PLC0415  most programs have no event loop

        return AsyncClient(self.runtime_dir)

    def stop(self, *, force: bool = False) -> None:
        """Closes the client and ends the supervisor with its workers; returns when it is gone. Idempotent.

        Requests of other programs may end first, unless `force`. A supervisor that does not agree to end within seconds
        is killed with its workers; one that has agreed, after a minute. Does nothing in a forked child.

        >>> supervisor = vramd.Supervisor.start(config="vramd.toml")
        >>> supervisor.stop(force=True)
        >>> supervisor.runtime_dir.exists()
        False
        """
        if (detached := self._finalizer.detach()) is not None:
            _, _, arguments, _ = detached
            _end(*arguments, force=force)


def _end(
    owner_pid: int,
    process: subprocess.Popen[bytes] | None,
    client: Client | None,
    temporary: Path | None,
    wrapped: launching.Wrapped | None = None,
    *,
    force: bool = False,
) -> None:
    """Ends a supervisor in order, or else by force, and removes its folder. Called at the program's end, too.

    Does nothing in a forked child, whether the child ends or leaves a block.
    """
    if os.getpid() != owner_pid:
        return
    try:
        if process is not None:
            _end_process(process, client, wrapped, force)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _end_process(
    process: subprocess.Popen[bytes], client: Client | None, wrapped: launching.Wrapped | None, force: bool
) -> None:
    agreed = False
    if client is not None:
        agreed = process.poll() is None and _agrees(process, client, force)
        client.close()
    assert process.stdin is not None
    try:
        if agreed:
            process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # of a Ctrl-C, too: the program does not wait any longer
        # Not before: requests of other programs would get `owner_grace_s` only. The pipe alone is not enough: a forked
        # child may hold its other end.
        process.stdin.close()
        if not agreed or process.poll() is None:
            launching.end(process, GRACE_S, wrapped)


def _agrees(process: subprocess.Popen[bytes], client: Client, force: bool) -> bool:
    try:
        client.shutdown(force=force, timeout_s=ASK_S)
    except VramdError:  # it does not answer
        return False
    except RuntimeError:  # at the program's end no thread begins any more, as a call needs: a signal asks as well
        if sys.platform != "win32":
            process.terminate()
    return True
