"""SupervisorService: translates and waits. Decides nothing."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import psutil
from vramd_common.rendezvous import API
from vramd_proto.v1 import supervisor_pb2
from vramd_proto.v1.supervisor_pb2_grpc import SupervisorServiceServicer

from ..core.actions import GrantReservation
from ..core.events import Requested, ReservationReleased, ReservationRequested, ShutdownRequested
from ..core.state import RequestKind
from ..devices.devices import Device
from ..domain.device_view import Sample
from ..domain.errors import Refusal, RefusedError
from ..loop import Loop
from ..model_selector import ModelSelector
from ..wire_status import Context, time_left_s
from ..workers.log_book import LogBook
from ..workers.planning import Planning
from . import enums, messages, validation
from .decision_writer import DecisionWriter
from .event_log import EventLog
from .service_models import ResidentReader

USUALLY_LISTED = 100
"""Decisions, where a call does not say how many."""


@dataclass(frozen=True)
class Identity:
    """Who this supervisor is."""

    version: str
    address: str
    started_s: float
    """By the loop's clock."""


class SupervisorService(SupervisorServiceServicer):
    """Made by the composition root."""

    def __init__(
        self,
        identity: Identity,
        loop: Loop,
        reader: ResidentReader,
        selector: ModelSelector,
        devices: Sequence[Device],
        samples: dict[str, Sample],
        planning: Planning,
        feed: EventLog,
        notes: DecisionWriter,
        logs: LogBook,
        room_deadline_s: float,
    ) -> None:
        """`samples` is kept current by the sampler; making room may take `room_deadline_s` at most."""
        self._identity = identity
        self._loop = loop
        self._reader = reader
        self._selector = selector
        self._devices = devices
        self._samples = samples
        self._planning = planning
        self._feed = feed
        self._notes = notes
        self._logs = logs
        self._room_deadline_s = room_deadline_s

    async def GetStatus(
        self, request: supervisor_pb2.GetStatusRequest, context: Context
    ) -> supervisor_pb2.GetStatusResponse:
        return supervisor_pb2.GetStatusResponse(
            supervisor=supervisor_pb2.SupervisorInfo(
                pid=os.getpid(),
                version=self._identity.version,
                uptime_s=self._loop.now_s() - self._identity.started_s,
                rss_bytes=psutil.Process().memory_info().rss,
                address=self._identity.address,
                usable_cores=self._loop.core.usable_cores,
                api=API,
            ),
            devices=self._device_messages(),
            models=await self._reader.all(),
        )

    async def ListDevices(
        self, request: supervisor_pb2.ListDevicesRequest, context: Context
    ) -> supervisor_pb2.ListDevicesResponse:
        return supervisor_pb2.ListDevicesResponse(devices=self._device_messages())

    def _device_messages(self) -> list[supervisor_pb2.Device]:
        ledger = self._loop.core.devices()
        return [
            messages.device(
                device,
                ledger[device.id],
                self._planning.unusable(device),
                self._samples[device.id].temperature_c,
                self._samples[device.id].utilisation_percent,
            )
            for device in self._devices
        ]

    async def WatchEvents(
        self, request: supervisor_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[supervisor_pb2.WatchEventsResponse]:
        with self._feed.watching(request.after_sequence if request.HasField("after_sequence") else None) as story:
            # The header is the client's sign that from here on it misses nothing.
            await context.send_initial_metadata(())
            async for published in story:
                message = messages.event(published)
                if not request.kinds or message.kind in request.kinds:
                    yield message

    async def TailLogs(
        self, request: supervisor_pb2.TailLogsRequest, context: Context
    ) -> AsyncIterator[supervisor_pb2.TailLogsResponse]:
        source = self._logs.of(self._known(validation.model_id(request.model))) if request.model else self._logs.own
        async with aclosing(source.tail(request.lines, follow=request.follow)) as lines:
            async for line in lines:
                yield supervisor_pb2.TailLogsResponse(line=line)

    def _known(self, model: str) -> str:
        """The id of the model that is called so. Raises RefusedError."""
        found = self._loop.core.find(model)
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return found.id

    async def ReserveMemory(
        self, request: supervisor_pb2.ReserveMemoryRequest, context: Context
    ) -> supervisor_pb2.ReserveMemoryResponse:
        validation.reservation(request, self._loop.core.accounts())
        limit_s = time_left_s(context, self._room_deadline_s)
        began_s = self._loop.now_s()
        event = partial(
            ReservationRequested,
            device=request.device,
            size_bytes=request.size_bytes,
            ttl_s=request.ttl_s,
            label=request.label,
            limit_s=limit_s,
        )
        async with self._loop.request(event) as ticket:
            reserved = await ticket.outcome
            assert isinstance(reserved, GrantReservation)
        waited_s = self._loop.now_s() - began_s
        return supervisor_pb2.ReserveMemoryResponse(reservation=reserved.reservation, waited_s=waited_s)

    async def ReleaseMemory(
        self, request: supervisor_pb2.ReleaseMemoryRequest, context: Context
    ) -> supervisor_pb2.ReleaseMemoryResponse:
        stood = request.reservation in {one.id for one in self._loop.core.reservations(self._loop.now_s())}
        self._loop.submit(ReservationReleased(self._loop.now_s(), request.reservation))
        return supervisor_pb2.ReleaseMemoryResponse(released=stood)

    async def ListReservations(
        self, request: supervisor_pb2.ListReservationsRequest, context: Context
    ) -> supervisor_pb2.ListReservationsResponse:
        standing = self._loop.core.reservations(self._loop.now_s())
        return supervisor_pb2.ListReservationsResponse(reservations=map(messages.reservation, standing))

    async def ListDecisions(
        self, request: supervisor_pb2.ListDecisionsRequest, context: Context
    ) -> supervisor_pb2.ListDecisionsResponse:
        model = validation.model_id(request.model) if request.model else ""
        limit = validation.listed(request.limit) or USUALLY_LISTED
        records = await self._notes.newest(model, limit)
        if model and not records:
            records = await self._notes.newest(self._known(model), limit)
        return supervisor_pb2.ListDecisionsResponse(decisions=map(messages.decision, records))

    async def HoldModel(
        self, request: supervisor_pb2.HoldModelRequest, context: Context
    ) -> AsyncIterator[supervisor_pb2.HoldModelResponse]:
        asked, options = validation.model_id(request.model), validation.load_options(request.load)
        caller = validation.name("label", request.label) or context.peer()
        model = await self._selector.resolve(asked, options)
        event = partial(
            Requested, model=model, kind=RequestKind.HOLD, limit_s=self._room_deadline_s, options=options, caller=caller
        )
        async with self._loop.request(event) as ticket:
            async for report in ticket.reports():
                yield supervisor_pb2.HoldModelResponse(
                    state=enums.STATES[report.state],
                    message=report.message,
                    model=model,
                    cause=enums.CAUSES[report.cause],
                    awaited=enums.AWAITED[report.awaited],
                )
            await ticket.outcome

    async def Shutdown(
        self, request: supervisor_pb2.ShutdownRequest, context: Context
    ) -> supervisor_pb2.ShutdownResponse:
        event = ShutdownRequested(self._loop.now_s(), request.force)
        asyncio.get_running_loop().call_soon(self._loop.submit, event)
        return supervisor_pb2.ShutdownResponse()
