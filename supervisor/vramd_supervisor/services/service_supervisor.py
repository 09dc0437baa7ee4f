"""SupervisorService: translates and waits."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from importlib.metadata import version

import psutil
from vramd_common.rendezvous import API
from vramd_proto.v1 import supervisor_pb2
from vramd_proto.v1.supervisor_pb2_grpc import SupervisorServiceServicer

from ..core.actions import GrantReservation
from ..core.events import (
    AdmissionClosed,
    AdmissionOpened,
    Requested,
    ReservationReleased,
    ReservationRequested,
    ShutdownRequested,
)
from ..core.state import RequestKind
from ..domain.errors import Refusal, RefusedError
from ..steady_clock import SteadyClock
from ..wire_status import Context, time_left_s
from . import messages, validation
from .enums import filled
from .parts import Parts

USUALLY_LISTED = 100
"""Decisions, unless a call says how many."""


class SupervisorService(SupervisorServiceServicer):
    def __init__(
        self, parts: Parts, address: str, tell_health: Callable[[], Awaitable[None]], clock: SteadyClock
    ) -> None:
        """`address` is where it is served; `tell_health` tells probes whether work is admitted; `clock` is the event
        loop's."""
        self._clock = clock
        self._parts, self._loop = parts, parts.loop
        self._tell_health = tell_health
        self._address = address
        self._began_s = parts.loop.now_s()
        self._version = version("vramd")

    async def GetStatus(
        self, request: supervisor_pb2.GetStatusRequest, context: Context
    ) -> supervisor_pb2.GetStatusResponse:
        return supervisor_pb2.GetStatusResponse(
            supervisor=supervisor_pb2.SupervisorInfo(
                pid=os.getpid(),
                version=self._version,
                uptime_s=self._loop.now_s() - self._began_s,
                rss_bytes=_resident_bytes(),
                address=self._address,
                usable_cores=self._loop.core.cpu.limit,
                cores_left=self._loop.core.cpu.left,
                foreign_cores=self._loop.core.cpu.foreign_cores,
                api=API,
                draining=self._loop.core.draining,
                running=self._loop.core.running,
                queued=self._loop.core.queued,
                loop_lag_s=self._clock.lag_s,
                ending=self._loop.core.ending,
            ),
            devices=self._device_messages(),
            models=await self._parts.residents(),
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
                self._parts.planning.unusable(device),
                self._parts.samples[device.id],
            )
            for device in self._parts.devices
        ]

    async def WatchEvents(
        self, request: supervisor_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[supervisor_pb2.WatchEventsResponse]:
        validation.kinds(request)
        with self._parts.events.watching(
            request.after_sequence if request.HasField("after_sequence") else None
        ) as story:
            # The header is the client's sign that from here on it misses nothing.
            await context.send_initial_metadata(())
            async for published in story:
                message = messages.event(published)
                if not request.kinds or message.kind in request.kinds:
                    yield message

    async def TailLogs(
        self, request: supervisor_pb2.TailLogsRequest, context: Context
    ) -> AsyncIterator[supervisor_pb2.TailLogsResponse]:
        source = (
            self._parts.logs.of(self._known(validation.model_id(request.model)))
            if request.model
            else self._parts.logs.own
        )
        async with aclosing(source.tail(request.lines, follow=request.follow)) as lines:
            async for line in lines:
                yield supervisor_pb2.TailLogsResponse(line=line)

    def _known(self, model: str) -> str:
        """Returns the id of the model that is called so. Raises RefusedError."""
        found = self._loop.core.find(model)
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return found.id

    async def ReserveMemory(
        self, request: supervisor_pb2.ReserveMemoryRequest, context: Context
    ) -> supervisor_pb2.ReserveMemoryResponse:
        validation.reservation(request, self._loop.core.accounts())
        limit_s = time_left_s(context, self._parts.request_deadline_s)
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
        validation.listed(request.model, request.limit)
        model, limit = request.model, request.limit or USUALLY_LISTED
        records = await self._parts.decisions.newest(model, limit)
        if model and not records:
            records = await self._parts.decisions.newest(self._known(model), limit)
        return supervisor_pb2.ListDecisionsResponse(decisions=map(messages.decision, records))

    async def HoldModel(
        self, request: supervisor_pb2.HoldModelRequest, context: Context
    ) -> AsyncIterator[supervisor_pb2.HoldModelResponse]:
        options = validation.load(request.model, request.load, request.label)
        caller = request.label or context.peer()
        model = await self._parts.selector.resolve(request.model, options)
        event = partial(
            Requested,
            model=model,
            kind=RequestKind.HOLD,
            limit_s=self._parts.request_deadline_s,
            options=options,
            caller=caller,
        )
        async with self._loop.request(event) as ticket:
            async for report in ticket.reports():
                yield filled(supervisor_pb2.HoldModelResponse, report, model=model)
            await ticket.outcome

    async def ReloadConfig(
        self, request: supervisor_pb2.ReloadConfigRequest, context: Context
    ) -> supervisor_pb2.ReloadConfigResponse:
        reloading = self._parts.reloading
        changes = await reloading.reload(check_only=request.check_only)
        return supervisor_pb2.ReloadConfigResponse(
            file=reloading.file, changes=(filled(supervisor_pb2.ConfigChange, change) for change in changes)
        )

    async def Drain(self, request: supervisor_pb2.DrainRequest, context: Context) -> supervisor_pb2.DrainResponse:
        self._loop.submit(AdmissionClosed(self._loop.now_s()))
        await self._tell_health()
        return supervisor_pb2.DrainResponse(running=self._loop.core.running, queued=self._loop.core.queued)

    async def Undrain(self, request: supervisor_pb2.UndrainRequest, context: Context) -> supervisor_pb2.UndrainResponse:
        self._loop.submit(AdmissionOpened(self._loop.now_s()))
        await self._tell_health()
        return supervisor_pb2.UndrainResponse()

    async def Shutdown(
        self, request: supervisor_pb2.ShutdownRequest, context: Context
    ) -> supervisor_pb2.ShutdownResponse:
        event = ShutdownRequested(self._loop.now_s(), request.force)
        asyncio.get_running_loop().call_soon(self._loop.submit, event)
        return supervisor_pb2.ShutdownResponse()


def _resident_bytes() -> int:
    """Returns this process's memory; 0 where the system does not say, as without a descriptor left to ask with."""
    try:
        return psutil.Process().memory_info().rss
    except (OSError, psutil.Error):
        return 0
