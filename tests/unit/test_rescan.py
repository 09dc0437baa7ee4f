"""A rescan gives ids by who is in use when it has looked, not when it began to."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.gguf_bytes import llama
from vramd_common.load_settings import LoadOptions
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import ModelUpdated, Requested
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import ModelFile
from vramd_supervisor.domain.config import Config, Priority, ServerConfig
from vramd_supervisor.files.discovery import Discovery
from vramd_supervisor.loop import Loop
from vramd_supervisor.model_folders import Folders
from vramd_supervisor.settings.listing import Looked

BOUND_S = 30.0


def put(path: Path, layers: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(llama(layers))
    return path


def nothing(loop: Loop) -> None:
    pass


def load(loop: Loop) -> None:
    loop.submit(Requested(loop.now_s(), 1, "m", RequestKind.LOAD, 30.0, LoadOptions()))


def pin(loop: Loop) -> None:
    loop.submit(ModelUpdated(loop.now_s(), "m", pinned=True))


def keep_alive(loop: Loop) -> None:
    loop.submit(ModelUpdated(loop.now_s(), "m", keep_alive_s=7.0))


def hurry(loop: Loop) -> None:
    loop.submit(ModelUpdated(loop.now_s(), "m", priority=Priority.BATCH))


def paths(loop: Loop) -> dict[str, str]:
    models = {id_: entry.spec.source for id_, entry in loop.core.state.models.items()}
    return {id_: file.path for id_, file in models.items() if isinstance(file, ModelFile)}


@pytest.mark.parametrize("meanwhile", [load, pin, keep_alive, hurry, nothing], ids=lambda what: what.__name__)
def test_what_is_used_or_changed_while_it_looks_keeps_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Loop], None]
) -> None:
    """Its file goes at the same time, and another of this name comes."""
    old, new = put(tmp_path / "a" / "m.gguf", 1), tmp_path / "b" / "m.gguf"
    right = Discovery.look
    # A thread that a busy machine holds up is no drive that is gone.
    monkeypatch.setattr("vramd_supervisor.model_folders.Discovery", partial(Discovery, patience_s=BOUND_S))

    async def main() -> dict[str, str]:
        loop = Loop(Core(Config(), {"host": Account(1 << 33, 1 << 33)}, 2, 1 << 20), lambda _: None)
        folders = Folders(Config(ServerConfig(models=(str(tmp_path),), watch=False)), tmp_path, loop)
        await folders.rescan()
        assert paths(loop) == {"m": str(old)}
        put(new, 2)
        old.unlink()
        running = asyncio.get_running_loop()

        async def in_the_loop() -> None:
            meanwhile(loop)

        def look(self: Discovery, before: dict[str, ModelFile]) -> Looked:
            looked = right(self, before)
            asyncio.run_coroutine_threadsafe(in_the_loop(), running).result(BOUND_S)
            return looked

        monkeypatch.setattr(Discovery, "look", look)
        await folders.rescan()
        return paths(loop)

    kept = {"m": str(old), "b/m": str(new)}
    assert asyncio.run(main()) == ({"m": str(new)} if meanwhile is nothing else kept)
