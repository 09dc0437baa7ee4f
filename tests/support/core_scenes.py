"""Scenes with the pure core: models that share a card, clients that call again and again, and what came of it."""

from collections.abc import Mapping
from dataclasses import replace

from support.core_world import MODELS, CoreWorld
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Action,
    Decided,
    Evicted,
    Refuse,
)
from vramd_supervisor.core.events import Event
from vramd_supervisor.core.state import ModelState
from vramd_supervisor.domain.catalog import Model, Simulation
from vramd_supervisor.domain.config import Config, ModelConfig, SchedulingConfig, ServerConfig
from vramd_supervisor.domain.decisions import DecisionKind


def three(**more: object) -> dict[str, Model]:
    """Models a, b and c, of which the card has room for two."""
    simulation = Simulation({"card": 4, "host": 1}, 1.0, 40.0, (), False)
    plain = {name: Model(name, simulation, LoadOptions(keep_alive_s=60.0)) for name in "abc"}
    return {name: replace(one, **more) for name, one in plain.items()}  # type: ignore[arg-type]  # fields of a model


def world_of(models: Mapping[str, Model] = MODELS, **scheduling: object) -> CoreWorld:
    keys = SchedulingConfig(**scheduling)  # type: ignore[arg-type]  # keys of [scheduling]
    config = Config(ServerConfig(spare=False), keys, {}, {name: ModelConfig() for name in models})
    return CoreWorld(config, spare=False, models=models)


class Memory(CoreWorld):
    """A world that remembers everything that its events brought."""

    def __init__(self, models: Mapping[str, Model], at_most_resident: int = 0) -> None:
        self.brought: list[Action] = []
        scheduling = SchedulingConfig(at_most_resident=at_most_resident)
        config = Config(ServerConfig(spare=False), scheduling, {}, {name: ModelConfig() for name in models})
        super().__init__(config, spare=False, models=models)

    def tell(self, event: Event) -> list[Action]:
        actions = super().tell(event)
        self.brought += actions
        return actions


def state(world: CoreWorld, model: str) -> ModelState:
    return world.core.state.models[model].state


def there(world: CoreWorld) -> set[str]:
    return {name for name in world.models if state(world, name) is ModelState.READY}


def use(world: CoreWorld, *models: str) -> list[Action]:
    """One call after the other, each a second after the last has ended."""
    brought: list[Action] = []
    for model in models:
        brought += world.wait(1.0)
        request = world.request(model)
        brought += [*world.actions, *world.wait(0.5)]
        world.caller(request, "end")
        brought += [*world.actions, *world.wait(0.0)]
    return brought


def evicted(actions: list[Action]) -> list[str]:
    return [action.model for action in actions if isinstance(action, Evicted)]


def decided(actions: list[Action], kind: DecisionKind) -> list[Decided]:
    return [a for a in actions if isinstance(a, Decided) and a.decision.kind is kind]


def refused(actions: list[Action]) -> list[Reason]:
    return [action.refusal.reason for action in actions if isinstance(action, Refuse)]


class Crowd:
    """Clients that call a model again and again, each for three seconds, so that it is never idle."""

    def __init__(self, world: CoreWorld, model: str, clients: int) -> None:
        self.world, self.model = world, model
        self.ends_s = {world.request(model): 3.0 + place / 10 for place in range(clients)}

    def go_on(self, seconds: float) -> list[Action]:
        """Everything that the core has done meanwhile."""
        world, brought = self.world, self.world.wait(0.0)
        until_s = world.now_s + seconds
        while world.now_s < until_s:
            brought += world.wait(0.1)
            over = [one for one, end_s in self.ends_s.items() if one not in world.open_requests or end_s <= world.now_s]
            for request in over:
                if request in world.granted:
                    world.caller(request, "end")
                    brought += world.actions
                if request not in world.open_requests:
                    del self.ends_s[request]
                    self.ends_s[world.request(self.model)] = world.now_s + 3.0
                    brought += world.actions
        return brought
