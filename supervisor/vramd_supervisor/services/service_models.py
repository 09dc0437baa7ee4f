"""ModelService: translates and waits."""

from collections.abc import AsyncIterator
from functools import partial

from vramd_common.load_settings import LoadOptions
from vramd_proto.v1 import model_pb2
from vramd_proto.v1.model_pb2_grpc import ModelServiceServicer

from ..core.actions import Complete
from ..core.events import ModelReset, ModelUpdated, Requested, RestartRequested, UnloadRequested
from ..core.state import ModelState, RequestKind
from ..core.view import ModelView
from ..domain.errors import Refusal, RefusedError
from ..quoting.placement import LoadPlans
from ..wire_status import Context, time_left_s
from . import messages, plan_messages, validation
from .enums import filled
from .parts import Parts


class ModelService(ModelServiceServicer):
    def __init__(self, parts: Parts) -> None:
        self._parts, self._loop = parts, parts.loop

    async def ListModels(self, request: model_pb2.ListModelsRequest, context: Context) -> model_pb2.ListModelsResponse:
        return model_pb2.ListModelsResponse(models=map(self._message, self._loop.core.models()))

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Context) -> model_pb2.GetModelResponse:
        entry = self._known(request.model)
        return model_pb2.GetModelResponse(model=self._message(entry), resident=await self._parts.resident(entry.id))

    def _message(self, entry: ModelView) -> model_pb2.Model:
        return messages.model(entry, self._parts.planning.problem(entry.spec))

    def _known(self, model: str) -> ModelView:
        """The model that is called so. Raises RefusedError."""
        found = self._loop.core.find(validation.model_id(model))
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return found

    async def RescanModels(
        self, request: model_pb2.RescanModelsRequest, context: Context
    ) -> model_pb2.RescanModelsResponse:
        changes = await self._parts.folders.rescan()
        return model_pb2.RescanModelsResponse(added=changes.added, removed=changes.removed, known=changes.known)

    async def LoadModel(
        self, request: model_pb2.LoadModelRequest, context: Context
    ) -> AsyncIterator[model_pb2.LoadModelResponse]:
        options = validation.load(request.model, request.load)
        model = await self._parts.selector.resolve(request.model, options)
        limit_s = time_left_s(context, self._parts.load_deadline_s)
        event = partial(
            Requested, model=model, kind=RequestKind.LOAD, limit_s=limit_s, options=options, reload=request.reload
        )
        async with self._loop.request(event) as ticket:
            async for report in ticket.reports():
                if report.state is not ModelState.READY:  # the last message of the call says so, with the details
                    yield filled(model_pb2.LoadModelResponse, report, progress=report.share)
            await ticket.outcome
        yield model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=await self._loaded(model))

    async def _loaded(self, model: str) -> model_pb2.ResidentModel | None:
        """Returns a model whose load has ended well. Raises RefusedError if it is gone by now."""
        found = await self._parts.resident(model)
        if why := self._loop.core.why_gone(model):
            raise RefusedError(why)
        return found

    async def _ways(self, entry: ModelView, options: LoadOptions) -> LoadPlans:
        """How a model could be loaded. Raises RefusedError."""
        ways = await self._parts.planning.ways(entry.spec, options, self._loop.core.available_if_evicted(entry.id))
        if isinstance(ways, Refusal):
            raise RefusedError(ways)
        return ways

    async def PlanLoad(self, request: model_pb2.PlanLoadRequest, context: Context) -> model_pb2.PlanLoadResponse:
        options = validation.load(request.model, request.load)
        model = await self._parts.selector.resolve(request.model, options)
        ways = await self._ways(self._known(model), options)
        model, core = self._known(model).id, self._loop.core  # the catalogue may have been read meanwhile
        return plan_messages.plan(model, core.plan_load(model, ways), core.devices())

    async def UnloadModel(
        self, request: model_pb2.UnloadModelRequest, context: Context
    ) -> model_pb2.UnloadModelResponse:
        model = self._known(request.model).id
        limit_s = time_left_s(context, self._parts.unload_deadline_s)
        event = partial(UnloadRequested, model=model, limit_s=limit_s, force=request.force)
        async with self._loop.request(event) as ticket:
            outcome = await ticket.outcome
        assert isinstance(outcome, Complete)
        assert outcome.receipt
        return model_pb2.UnloadModelResponse(receipt=messages.receipt(outcome.receipt))

    async def SelectModel(
        self, request: model_pb2.SelectModelRequest, context: Context
    ) -> model_pb2.SelectModelResponse:
        return messages.choice(await self._parts.selector.select(messages.wish(request), LoadOptions()))

    async def UpdateModel(
        self, request: model_pb2.UpdateModelRequest, context: Context
    ) -> model_pb2.UpdateModelResponse:
        validation.changes(request)
        entry = self._known(request.model)
        pinned = request.pinned if request.HasField("pinned") else None
        keep_alive_s = request.keep_alive_s if request.HasField("keep_alive_s") else None
        priority = validation.priority(request.priority)
        self._loop.submit(ModelUpdated(self._loop.now_s(), entry.id, pinned, keep_alive_s, priority))
        return model_pb2.UpdateModelResponse(model=self._message(self._known(entry.id)))

    async def ResetModel(self, request: model_pb2.ResetModelRequest, context: Context) -> model_pb2.ResetModelResponse:
        entry = self._known(request.model)
        self._parts.planning.forget(entry.spec)
        self._loop.submit(ModelReset(self._loop.now_s(), entry.id))
        return model_pb2.ResetModelResponse(model=self._message(self._known(entry.id)))

    async def RestartModel(
        self, request: model_pb2.RestartModelRequest, context: Context
    ) -> model_pb2.RestartModelResponse:
        model = self._known(request.model).id
        limit_s = time_left_s(context, self._parts.load_deadline_s)
        event = partial(RestartRequested, model=model, limit_s=limit_s, force=request.force)
        async with self._loop.request(event) as ticket:
            await ticket.outcome
        return model_pb2.RestartModelResponse(resident=await self._loaded(model))
