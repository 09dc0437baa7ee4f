"""Converts between the wire's messages and the engines' values. Checks nothing: the supervisor has."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from vramd_common import wire_values
from vramd_common.replay import CUTS_KEY
from vramd_common.sampling import Sampling
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import inference_pb2

from vramd_worker.engine import Activity, Cut, Finish, FinishReason, Job, Loaded, Message, Piece, Vectors
from vramd_worker.llama import LlamaSpec
from vramd_worker.simulated import Fault, SimulatedSpec

FINISH_REASONS = {
    FinishReason.STOP: inference_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: inference_pb2.FINISH_REASON_LENGTH,
}


def generate_job(wanted: worker_pb2.WorkerGenerateRequest) -> Job:
    """Makes a job of a literal prompt."""
    return _job(_text(wanted.request.prompt), wanted)


def chat_job(wanted: worker_pb2.WorkerChatRequest) -> Job:
    """Makes a job of a conversation, which the engine renders."""
    turns = tuple(Message(message.role, _text(message.parts)) for message in wanted.request.messages)
    return _job(turns, wanted)


def texts(request: inference_pb2.EmbedRequest) -> tuple[str, ...]:
    """Returns the texts to embed, in order."""
    return tuple(_text(one.parts) for one in request.inputs)


def generate_response(piece: Piece) -> inference_pb2.GenerateResponse:
    """Makes one message of a Generate stream."""
    return inference_pb2.GenerateResponse(text=piece.text, token_ids=piece.token_ids, finish=_finish(piece.finish))


def chat_response(piece: Piece) -> inference_pb2.ChatResponse:
    """Makes one message of a Chat stream."""
    return inference_pb2.ChatResponse(text=piece.text, token_ids=piece.token_ids, finish=_finish(piece.finish))


def cuts_metadata(cuts: Iterable[Cut]) -> tuple[tuple[str, bytes], ...]:
    """Makes the initial metadata of an answer: how its prompt was computed."""
    told = worker_pb2.WorkerCuts(cuts=[worker_pb2.WorkerCut(**cut._asdict()) for cut in cuts])
    return ((CUTS_KEY, told.SerializeToString()),)


def embed_response(model: str, vectors: Vectors) -> inference_pb2.EmbedResponse:
    """Makes the answer of numbered vectors."""
    return inference_pb2.EmbedResponse(
        model=model,
        dimensions=len(vectors.values[0]),
        embeddings=[inference_pb2.Embedding(index=index, values=one) for index, one in enumerate(vectors.values)],
        usage=inference_pb2.Usage(prompt_tokens=vectors.prompt_tokens),
    )


def spec(request: worker_pb2.WorkerLoadRequest) -> SimulatedSpec | LlamaSpec:
    """Returns what to load. Raises ValueError for an unknown fault, or without an engine."""
    match request.WhichOneof("engine"):
        case "simulated":
            return _simulated_spec(request.simulated)
        case "llama":
            return _llama_spec(request.llama)
        case None:
            raise ValueError("a load without an engine")


def loaded(result: Loaded) -> worker_pb2.WorkerLoadResponse:
    """Makes the last message of a load."""
    return worker_pb2.WorkerLoadResponse(
        loaded=worker_pb2.WorkerLoaded(
            context_tokens=result.context_tokens,
            memory=[worker_pb2.WorkerMemory(**asdict(one)) for one in result.memory],
        )
    )


def beat(activities: Iterable[Activity]) -> worker_pb2.WorkerBeat:
    """Makes the message of what the threads do."""
    return worker_pb2.WorkerBeat(activities=[worker_pb2.WorkerActivity(**asdict(one)) for one in activities])


def _text(parts: Sequence[inference_pb2.ContentPart]) -> str:
    return "".join(part.text for part in parts)


def _job(
    prompt: str | tuple[Message, ...], wanted: worker_pb2.WorkerGenerateRequest | worker_pb2.WorkerChatRequest
) -> Job:
    request, limits = wanted.request, wanted.request.limits
    return Job(
        prompt=prompt,
        # The message's fields have the names of the value's; what is not set takes the value's defaults.
        sampling=Sampling(**{field.name: value for field, value in request.sampling.ListFields()}),
        max_tokens=wire_values.get(limits, "max_tokens"),
        stop=tuple(limits.stop),
        max_tokens_per_s=wire_values.get(limits, "max_tokens_per_s"),
        parse_special=wire_values.get(request, "parse_special"),
        show_special=request.show_special,
        drawn_seed=wire_values.get(wanted, "drawn_seed"),
        resume=tuple(wanted.resume_token_ids),
        resume_cuts=tuple(Cut(cut.tokens, cut.computed, cut.times) for cut in wanted.resume_cuts.cuts),
        session=request.session,
        scope=wanted.scope,
        shared=request.cache == inference_pb2.PROMPT_CACHE_SHARED,
    )


def _finish(finish: Finish | None) -> inference_pb2.Finish | None:
    if finish is None:
        return None
    return inference_pb2.Finish(
        reason=FINISH_REASONS[finish.reason],
        usage=inference_pb2.Usage(
            prompt_tokens=finish.prompt_tokens,
            completion_tokens=finish.completion_tokens,
            prompt_s=finish.prompt_s,
            generation_s=finish.generation_s,
            cached_prompt_tokens=finish.cached_prompt_tokens,
        ),
    )


def _simulated_spec(model: worker_pb2.SimulatedModel) -> SimulatedSpec:
    return SimulatedSpec(
        allocate_bytes=model.allocate_bytes,
        load_s=model.load_s,
        tokens_per_s=model.tokens_per_s,
        faults=frozenset(map(Fault, model.manners)),
        context_tokens=model.context_tokens,
        parallel=model.parallel,
    )


def _llama_spec(model: worker_pb2.LlamaModel) -> LlamaSpec:
    decided = {one.name: wire_values.get(model.settings, one.name) for one in model.settings.DESCRIPTOR.fields}
    devices = tuple(decided.pop("devices"))
    return LlamaSpec(
        **decided,
        device=devices[0],
        shares=tuple(zip(devices, model.split, strict=True)) if model.split else (),
        path=model.path,
        device_names=tuple(model.devices),
        environment=dict(model.environment),
        warm_up_batch=model.warm_up_batch,
        mapped=model.mapped,
        stream_gap_s=model.stream_gap_s,
        warm_prompt=model.warm_prompt,
    )
