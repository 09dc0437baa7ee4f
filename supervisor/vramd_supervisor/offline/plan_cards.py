"""`vramd plan FILE --card SIZE`: plans a load for imagined cards.

Needs no supervisor, and starts nothing but the helper that asks llama.cpp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
from vramd_proto.v1.load_pb2 import LoadOptions as LoadOptionsMessage
from vramd_proto.v1.model_pb2 import PlanLoadResponse

from ..core.forecast import LoadForecast, Verdict
from ..core.view import DeviceBooks
from ..devices.host_memory import HostProbe, usable_cores
from ..domain.catalog import Model
from ..domain.config import Config
from ..domain.device_view import HOST, DeviceKind, DeviceView, limits
from ..domain.errors import Refusal, RefusedError, in_words
from ..domain.host_profile import default_threads
from ..quoting.placement import LoadPlans, placements
from ..services import plan_messages, validation
from ..workers.planning import UNKNOWN_FACTS
from ..workers.quotes import standalone_quotes


async def plan_for_cards(path: Path, cards: Sequence[int], options: LoadOptionsMessage) -> PlanLoadResponse:
    """Plans the load of this file on empty NVIDIA cards of these sizes, beside this machine's RAM.

    Raises RefusedError.
    """
    asked = validation.load_options(options)
    views = [DeviceView(f"gpu{index}", DeviceKind.NVIDIA, "", size) for index, size in enumerate(cards)]
    views.append(DeviceView(HOST, DeviceKind.HOST, "", HostProbe().sample().total_bytes))
    if len(cards) == 1 and asked.device is None:
        # A model that does not fit is then refused on the card, instead of going to the host.
        asked = replace(asked, device=views[0].id)
    books = {view.id: _empty(view) for view in views}
    available = {id_: book.free_bytes for id_, book in books.items()}
    threads = default_threads(psutil.cpu_count(logical=False), usable_cores(0))
    async with standalone_quotes() as quotes:
        quoted = await quotes.tried(await quotes.quoted(path), UNKNOWN_FACTS)
        placing = placements(Model(path.stem, quoted.file), asked, views, threads, available)
        ways = await quotes.answer(placing, quoted, UNKNOWN_FACTS)
    if isinstance(ways, Refusal):
        raise RefusedError(ways)
    return plan_messages.plan(path.stem, _forecast(ways, available), books)


def _empty(view: DeviceView) -> DeviceBooks:
    may = limits(Config(), view.id, view.kind, view.total_bytes)
    return DeviceBooks(view.total_bytes, may.budget_bytes, 0, 0, may.headroom_bytes, may.budget_bytes)


def _forecast(ways: LoadPlans, available: Mapping[str, int]) -> LoadForecast:
    """The plan as a forecast: nothing is loaded, so nothing is evicted. One on the CPU alone does not fit the card."""
    plan = ways.plans[0]
    lacking = {id_: need for id_, need in plan.quote.needs.items() if need > available[id_]}
    message = ", ".join(
        f"{in_words(need)} are needed on {id_} of {in_words(available[id_])}" for id_, need in lacking.items()
    )
    if plan.settings.device == HOST and not lacking:
        message = "no part of it fits on the card; it would run on the CPU alone"
    verdict = Verdict.TOO_LARGE if message else Verdict.BEGINS
    return LoadForecast(plan, verdict, not message, (), message, None, ways.alternatives)
