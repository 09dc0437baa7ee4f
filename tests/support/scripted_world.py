"""The pure core beside a scripted card that the real sampler looks at."""

import asyncio
from collections.abc import Mapping
from typing import cast

from support.core_world import BUDGETS, MODELS, CoreWorld, Release
from support.scripted_nvml import ScriptedCard
from vramd_supervisor.core.actions import Action, Load
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import CatalogueRead, Event, LoadProgressed, MemoryReleased
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.devices.device import Device
from vramd_supervisor.devices.nvidia import NVIDIA
from vramd_supervisor.devices.nvml import Card
from vramd_supervisor.devices.release import RELEASE_S
from vramd_supervisor.devices.sampler import Sampler
from vramd_supervisor.domain.receipt import Exit
from vramd_supervisor.loop import Loop

HEADROOM = 1
TOTAL = BUDGETS["card"] + HEADROOM


class WorldLoop:
    """As much of the loop as the sampler sees."""

    def __init__(self, world: "ScriptedWorld") -> None:
        self._world = world

    @property
    def core(self) -> Core:
        return self._world.core

    def now_s(self) -> float:
        return self._world.now_s

    def submit(self, event: Event) -> None:
        self._world.tell(event)


class ScriptedWorld(CoreWorld):
    """The core, beside a scripted card that the real sampler looks at.

    A process takes half of its bytes while it loads, and `spared` less than it was promised once it is ready.
    """

    def __init__(self, script: ScriptedCard, card: Card, looks: asyncio.AbstractEventLoop, *, spared: int) -> None:
        self.script, self._card, self._looks, self._spared = script, card, looks, spared
        script.now_s = lambda: self.now_s
        self.others_seen = 0
        """What others had when the card was last looked at; all of it while it is lost."""
        self.rows: set[int] = set()
        """Every row of the books there ever was."""
        self.struck: set[int] = set()
        """Those that were struck out."""
        super().__init__(spare=False)
        accounts = {
            "card": Account(TOTAL, BUDGETS["card"], HEADROOM),
            "host": Account(BUDGETS["host"], BUDGETS["host"]),
        }
        self.core = Core(self.config, accounts, usable_cores=3, spare_bytes=1)
        device = Device("card", NVIDIA, "Scripted", card)
        self._sampler = Sampler(cast(Loop, WorldLoop(self)), [device], {}, lambda: [*map(pid_of, self.alive)])
        self.tell(CatalogueRead(self.now_s, MODELS))

    def tell(self, event: Event) -> list[Action]:
        before = self._rows()
        actions = super().tell(event)
        if isinstance(event, LoadProgressed):
            self._take_card(event.worker_id, ready=True)
        after = self._rows()
        self._check_rows(event, set(before) - set(after), set(after) - set(before))
        if new := {row: size for row, size in after.items() if size > before.get(row, 0)}:
            self._check_promise(new)
        return actions

    def _rows(self) -> dict[int, int]:
        return {row: needs.get("card", 0) for row, needs in self.core.state.ledger.rows.items()}

    def _check_rows(self, event: Event, gone: set[int], new: set[int]) -> None:
        """A row is struck out once, when the memory of its process is back, and never comes again."""
        if gone:
            assert isinstance(event, MemoryReleased)
            assert gone == {event.worker_id}
        assert not (gone | new) & self.struck
        self.struck |= gone
        self.rows |= new

    def _check_promise(self, new: Mapping[int, int]) -> None:
        """What is promised fits beside what others were seen to have, and what ours have or are about to take."""
        if self.script.stale_s:
            return  # nobody can know
        gone = sum(size for pid, size in self._ours().items() if worker_id_of(pid) not in self.alive)
        ours = sum(self._final_bytes(worker_id) for worker_id in self.alive - set(new))
        needed = self.others_seen + gone + ours + sum(new.values())
        assert needed <= TOTAL - HEADROOM, f"{self.others_seen} others, {gone} gone, {ours} ours, {dict(new)} new"

    def _ours(self) -> dict[int, int]:
        """What each process of ours has on the card, the dead included whose memory is not back."""
        return {pid: size for pid, size in self.script.held().items() if pid}

    def _final_bytes(self, worker_id: int) -> int:
        """What a process has on the card once it is ready."""
        return max(0, self._rows()[worker_id] - self._spared)

    def _take(self, action: Action) -> None:
        super()._take(action)
        if isinstance(action, Load):
            self._take_card(action.worker_id, ready=False)

    def _take_card(self, worker_id: int, *, ready: bool) -> None:
        size = self._final_bytes(worker_id)
        self.script.take(pid_of(worker_id), size if ready else size // 2)

    def _gone(self, worker_id: int, words: str, how: Exit = Exit.ENDED) -> None:
        if worker_id in self.alive:
            self.script.end(pid_of(worker_id))
        super()._gone(worker_id, words, how)

    def run_errand(self, index: int = 0) -> None:
        if isinstance(errand := self.errands[index], Release):
            self._settle(pid_of(errand.worker_id))
        super().run_errand(index)

    def _settle(self, pid: int) -> None:
        """As the shell does before it says that a dead process's memory is back: waits, bounded, and looks."""
        until_s = self.now_s + RELEASE_S
        while self.now_s < until_s and self._card.process_bytes(pid):
            self.now_s += 0.5
        self.look()

    def look(self) -> None:
        """As every second."""
        self.others_seen = TOTAL if self.script.lost else self.script.held().get(0, 0)
        self._looks.run_until_complete(self._sampler.look())

    def sample(self, device: str, external: int) -> None:
        """Others take so much, but no more of the card than ours leave them or will leave them."""
        if device != "card":
            return super().sample(device, external)
        coming = {pid_of(worker_id): self._final_bytes(worker_id) for worker_id in self.alive}
        self.script.others(max(0, min(external, TOTAL - sum({**self._ours(), **coming}.values()))))
        return self.look()


def pid_of(worker_id: int) -> int:
    """As CoreWorld numbers its processes."""
    return 1000 + worker_id


def worker_id_of(pid: int) -> int:
    return pid - 1000
