"""What is known of a model's file between two looks at it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile, Problem
from vramd_supervisor.quoting.placement import LoadPlans
from vramd_supervisor.workers.planning import UNKNOWN_FACTS, Planning
from vramd_supervisor.workers.quotes import EngineFacts, QuotedFile
from vramd_supervisor.workers.verdicts import Verdicts

LOOP: Any = SimpleNamespace(core=SimpleNamespace(accounts=dict))
NO = Problem(Reason.MODEL_UNSUPPORTED, "llama.cpp says no")


class Disk:
    """Quotes of a file as it is on the disk, whatever was listed."""

    def __init__(self, file: ModelFile) -> None:
        self.verdicts = Verdicts()
        self._file = file

    async def quoted(self, _: Path) -> QuotedFile:
        return QuotedFile(self._file, "", None)

    async def tried(self, quoted: QuotedFile, _: EngineFacts) -> QuotedFile:
        return quoted

    async def answer(self, *_: object) -> LoadPlans:
        return LoadPlans(())


def file(modified_ns: int) -> ModelFile:
    return ModelFile("/m.gguf", 1, architecture="llama", modified_ns=modified_ns)


@pytest.mark.parametrize(
    ("listed", "planned", "now", "refused"),
    [
        pytest.param(5, 5, 5, True, id="as it was"),
        pytest.param(5, 7, 5, True, id="it had changed before it was planned for"),
        pytest.param(5, 5, 7, False, id="a newer file in its place"),
        pytest.param(5, 5, 3, False, id="an older file in its place"),
        pytest.param(5, 7, 3, False, id="an older one after both"),
    ],
)
def test_a_verdict_is_of_the_file_that_is_there(listed: int, planned: int, now: int, refused: bool) -> None:
    disk: Any = Disk(file(planned))

    async def story() -> Problem | None:
        planning = Planning(LOOP, (), 1, disk)
        await planning.ways(Model("m", file(listed)), LoadOptions(), {})
        disk.verdicts.tried(file(planned), UNKNOWN_FACTS.build, NO)
        return planning.problem(Model("m", file(now)))

    assert (asyncio.run(story()) == NO) is refused
