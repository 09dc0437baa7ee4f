"""Every public name of the SDK has an example, and every example says what happens."""

import ast
import asyncio
import doctest
import inspect
import io
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path

import mypy.api
import pytest
import vramd
from support.fake_answers import decision, held, queue_changed, selection, thrashing, timeline, waiting
from support.fake_supervisor import (
    FakeSupervisor,
    Refusal,
    Wait,
    answer,
    device,
    known,
    plan,
    plan_that_does_not_fit,
    receipt,
    resident,
    standing,
)
from vramd.failures import BY_CODE, BY_REASON
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

DETAILS = {
    "model": "talker",
    "field": "temperature",
    "promptTokens": "5000",
    "contextTokens": "4096",
    "differences": "context 4096",
    "heldBy": "reader",
    "exit": "SIGSEGV",
    "incidentId": "4f2a",
}
"""What refusals of these examples tell."""

ABSTRACT = {
    "Exhausted": Reason.MEMORY_EXHAUSTED,
    "Unavailable": Reason.LOAD_TIMEOUT,
    "VramdError": Reason.MODEL_NOT_FOUND,
}
"""Classes that no reason has for itself; the example shows a child."""

CONTENTED = {
    "NotFound": ("LoadModel",),
    "ChatTemplateUnusable": ("Chat",),
    "TooLarge": ("LoadModel",),
    "Quarantined": ("Chat",),
}
"""Examples that go on after the failure, and what fails in them; in the others everything does."""

NEEDS_A_PROCESS = "vramd.supervisor"
"""Examples that start a supervisor are run where processes are."""


def members(value: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that a class defines."""
    for name, member in vars(value).items():
        if not name.startswith("_") and isinstance(member, types.FunctionType | property | classmethod):
            yield f"{value.__name__}.{name}", member


def documented() -> dict[str, str]:
    """Text of each public thing, by its name."""
    texts = {}
    for name in vramd.__all__:
        value = getattr(vramd, name)
        texts[name] = inspect.getdoc(value) if "__doc__" in vars(value) else ""
        texts |= {name: inspect.getdoc(member) for name, member in members(value)}
    return {name: text or "" for name, text in texts.items()}


TEXTS = documented()
HERE = [name for name in TEXTS if getattr(vramd, name.partition(".")[0]).__module__ != NEEDS_A_PROCESS]


def method(name: str) -> object:
    """A method of a client; None for everything else."""
    kind, _, member = name.partition(".")
    return inspect.getattr_static(getattr(vramd, kind), member) if kind.endswith("Client") and member else None


@pytest.mark.parametrize("name", TEXTS)
def test_every_public_name_has_an_example(name: str) -> None:
    assert doctest.DocTestParser().get_examples(TEXTS[name]), f"{name} has none"


@pytest.mark.parametrize("name", [name for name in TEXTS if isinstance(method(name), types.FunctionType)])
def test_every_call_says_what_it_raises(name: str) -> None:
    assert "Raises:" in TEXTS[name] or name.endswith(".close"), f"{name} does not say"


def events() -> tuple[supervisor_pb2.WatchEventsResponse, ...]:
    evicted = supervisor_pb2.Evicted(
        model="reader", worker_id=2, cause=model_pb2.CAUSE_EVICTED_FOR_MODEL, for_model="talker"
    )
    row = supervisor_pb2.LedgerRow(id="gpu0", reserved_bytes=3 << 30, budget_bytes=7 << 30)
    ledger = supervisor_pb2.LedgerChanged(devices=[row], message="talker is loaded")
    pressed = supervisor_pb2.PressureChanged(
        device="gpu0", before=supervisor_pb2.PRESSURE_WARN, after=supervisor_pb2.PRESSURE_CLOSED
    )
    ready = supervisor_pb2.ModelChanged(
        model="talker", before=model_pb2.MODEL_STATE_LOADING, after=model_pb2.MODEL_STATE_READY
    )
    return (
        supervisor_pb2.WatchEventsResponse(sequence=7, kind=supervisor_pb2.EVENT_KIND_EVICTION, evicted=evicted),
        supervisor_pb2.WatchEventsResponse(sequence=8, kind=supervisor_pb2.EVENT_KIND_MODEL, model_changed=ready),
        supervisor_pb2.WatchEventsResponse(sequence=9, kind=supervisor_pb2.EVENT_KIND_LEDGER, ledger_changed=ledger),
        supervisor_pb2.WatchEventsResponse(
            sequence=10, kind=supervisor_pb2.EVENT_KIND_PRESSURE, pressure_changed=pressed
        ),
        queue_changed(),
        thrashing(),
    )


def wanted(text: str) -> tuple[supervisor_pb2.WatchEventsResponse | Wait, ...]:
    """The events that an example watches; none while it only listens."""
    topics = ("EVICTION", "MODEL", "LEDGER", "PRESSURE", "QUEUE", "THRASH")
    kinds = [kind for kind in topics if f'watch(["{kind}"])' in text]
    if ".on(" in text:
        return (Wait(),)
    return tuple(event for event in events() if not kinds or supervisor_pb2.EventKind.Name(event.kind)[11:] in kinds)


def script(fake: FakeSupervisor, text: str) -> None:
    """The little world that all examples are about."""
    info = supervisor_pb2.SupervisorInfo(pid=4700, version="0.1.0", address="127.0.0.1:50151", usable_cores=2, api=1)
    finish = inference_pb2.Finish(reason=inference_pb2.FINISH_REASON_STOP)
    vectors = [inference_pb2.Embedding(index=0, values=[1, 0]), inference_pb2.Embedding(index=1, values=[0, 1])]
    loading = model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_LOADING, progress=0.5)
    ready = model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident())
    pinned = known()
    pinned.pinned = True
    fake.script("Chat", timeline(), *answer("Hello", ", you."))
    first = (waiting(3, "reader is DRAINING"),) if "on_waiting" in text else ()
    fake.script("Generate", *first, inference_pb2.GenerateResponse(text=" time.", token_ids=[7], finish=finish))
    fake.script("Embed", inference_pb2.EmbedResponse(model="reader", dimensions=2, embeddings=vectors))
    fake.script("Tokenize", inference_pb2.TokenizeResponse(token_ids=[15, 3, 42]))
    fake.script("Detokenize", inference_pb2.DetokenizeResponse(text="Hello, you."))
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known("reader"), known()]))
    fake.script("GetModel", model_pb2.GetModelResponse(model=known(), resident=resident()))
    fake.script("RescanModels", model_pb2.RescanModelsResponse(added=["reader"], known=2))
    fake.script("LoadModel", loading, ready)
    fake.script("HoldModel", *held())
    fake.script("PlanLoad", plan_that_does_not_fit() if ".nearest" in text else plan())
    fake.script("SelectModel", selection())
    fake.script("UnloadModel", model_pb2.UnloadModelResponse(receipt=receipt()))
    fake.script("UpdateModel", model_pb2.UpdateModelResponse(model=pinned))
    fake.script("RestartModel", model_pb2.RestartModelResponse(resident=resident()))
    fake.script("ResetModel", model_pb2.ResetModelResponse(model=known()))
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse(supervisor=info, devices=[device()], models=[resident()]))
    fake.script("ListDevices", supervisor_pb2.ListDevicesResponse(devices=[device()]))
    fake.script("WatchEvents", *wanted(text))
    lines = ("the model is ready", "2 tokens in 0.1 s")
    fake.script("TailLogs", *(supervisor_pb2.TailLogsResponse(line=line) for line in lines))
    fake.script("ReserveMemory", supervisor_pb2.ReserveMemoryResponse(reservation=8, waited_s=0.25))
    fake.script("ListReservations", supervisor_pb2.ListReservationsResponse(reservations=[standing()]))
    fake.script("ReleaseMemory", supervisor_pb2.ReleaseMemoryResponse(released=True))
    fake.script("ListDecisions", supervisor_pb2.ListDecisionsResponse(decisions=[decision()]))
    change = supervisor_pb2.ConfigChange(
        key="scheduling.drain_s", before="30", after="10", effect=supervisor_pb2.CONFIG_EFFECT_APPLIED
    )
    fake.script("ReloadConfig", supervisor_pb2.ReloadConfigResponse(file="/etc/vramd.toml", changes=[change]))
    fake.script("Drain", supervisor_pb2.DrainResponse(running=1))
    fake.script("Undrain", supervisor_pb2.UndrainResponse())
    fake.script("Shutdown", supervisor_pb2.ShutdownResponse())


def refusal(kind: str) -> Refusal | None:
    """What raises this class; None if it needs no supervisor, or is none of an error."""
    value = getattr(vramd, kind)
    reason = next((reason for reason in Reason if BY_REASON[reason] is value), ABSTRACT.get(kind))
    if reason is not None:
        metadata = {key: DETAILS[key] for key in reason.value.metadata if key in DETAILS}
        return Refusal(reason, message=reason.value.text, metadata=metadata, retry_after_s=reason.value.retry_after_s)
    code = next((code for code, kind in BY_CODE.items() if kind is value), None)
    return Refusal(None, code=code, message="given up") if code else None


METHODS = ("GetStatus", "ReloadConfig", "LoadModel", "UnloadModel", "RestartModel", "Chat", "Embed")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSupervisor]:
    """Found without any argument, as the examples do."""
    monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("VRAMD_ADDRESS", "VRAMD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with FakeSupervisor(tmp_path / "run") as fake:
        yield fake


@pytest.mark.parametrize("name", HERE)
def test_the_example_is_true(name: str, world: FakeSupervisor) -> None:
    kind = name.partition(".")[0]
    if failing := refusal(kind):
        for method in CONTENTED.get(kind, METHODS):
            world.script(method, failing)
    if refusal(kind) is None or kind in CONTENTED:
        script(world, TEXTS[name])
    names: dict[str, object] = {"vramd": vramd}
    if kind.startswith("Async"):
        asyncio.run(run_async(name, names))
    else:
        with vramd.Client(sleep=lambda _: None) as client:
            run_sync(name, {**names, "client": client})


def run_sync(name: str, names: dict[str, object]) -> None:
    example = doctest.DocTestParser().get_doctest(TEXTS[name], names, name, None, 0)
    told = io.StringIO()
    result = doctest.DocTestRunner().run(example, out=told.write, clear_globs=False)
    assert result.failed == 0, told.getvalue()
    assert result.attempted > 0


async def run_async(name: str, names: dict[str, object]) -> None:
    """As `python -m asyncio` does: `await` may stand anywhere."""
    client = vramd.AsyncClient(sleep=lambda _: asyncio.sleep(0))
    async with client:
        here = {**names, "client": client}
        for example in doctest.DocTestParser().get_examples(TEXTS[name]):
            code = compile(example.source, name, "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            printed = io.StringIO()
            with redirect_stdout(printed):
                done = eval(code, here)
                if inspect.isawaitable(done):
                    await done
            assert printed.getvalue().rstrip() == example.want.rstrip(), example.source


def test_the_examples_satisfy_a_strict_type_checker(tmp_path: Path) -> None:
    """A reader copies them into programs; each is a function of its own, which knows its client."""
    lines = ["import asyncio", "import vramd"]
    for number, (name, text) in enumerate(TEXTS.items()):
        begin, kind = ("async def", "AsyncClient") if name.startswith("Async") else ("def", "Client")
        lines.append(f"{begin} example_{number}(client: vramd.{kind}) -> None:  # {name}")
        lines += [textwrap.indent(one.source, "    ") for one in doctest.DocTestParser().get_examples(text)]
    program = tmp_path / "examples.py"
    program.write_text("\n".join(lines), "utf-8")
    told, _, code = mypy.api.run(["--strict", f"--cache-dir={tmp_path}", "--follow-imports=silent", str(program)])
    assert code == 0, told


def test_an_example_that_lies_is_found(world: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    script(world, "")
    lies: Mapping[str, tuple[str, Callable[[], object]]] = {
        "sync": (">>> client.devices()[0].id\n'gpu1'\n", lambda: run_with_client("sync")),
        "async": (">>> (await client.devices())[0].id\n'gpu1'\n", lambda: asyncio.run(run_async("async", {}))),
    }
    for name, (text, run) in lies.items():
        monkeypatch.setitem(TEXTS, name, text)
        with pytest.raises(AssertionError):
            run()


def run_with_client(name: str) -> None:
    with vramd.Client() as client:
        run_sync(name, {"client": client})
