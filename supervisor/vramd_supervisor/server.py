"""The composition root: builds everything, serves, and ends it in order.

Start: lock, configuration, devices, listening, models, address file. End: drain, workers, server, address file, lock.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from typing_extensions import assert_never
from vramd_common.rendezvous import Address
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2
from vramd_proto.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from vramd_proto.v1.supervisor_pb2_grpc import add_SupervisorServiceServicer_to_server

from . import opening, signals, steady_clock
from .certificate import Certificate
from .core.actions import (
    Decided,
    Evicted,
    FindPlans,
    FindTogether,
    LedgerChanged,
    Load,
    ModelChanged,
    Notice,
    PressureChanged,
    QueueChanged,
    Released,
    SetThreads,
    Spawn,
    Stop,
    Thrashing,
)
from .core.events import ShutdownRequested, Started
from .devices.backend import has_further_backends, with_backends
from .devices.cpu_sampler import CpuSampler
from .devices.device import Device
from .devices.devices import find_devices, warn_of_absent, without_cards
from .devices.host_memory import usable_cores
from .devices.sampler import LOOK_S, Sampler, first_account
from .domain.config import Config
from .domain.device_view import DeviceLostError, Sample, limits
from .domain.host_profile import default_threads
from .files.discovery import file_calls
from .files.journal import Journal
from .files.memory_book import MemoryBook
from .instance import Instance, journal_folder, keep, state_folder
from .listening import Listening, listen, raise_limit
from .loop import Loop, OutsideAction
from .model_folders import Folders
from .model_selector import ModelSelector
from .owner import Owner
from .reloading import Reloading
from .services.activity import Activity
from .services.auth_interceptor import AuthInterceptor
from .services.decision_writer import DecisionWriter
from .services.event_log import EventLog
from .services.parts import Parts, load_deadline_s
from .services.scopes import Scope
from .services.service_inference import InferenceService
from .services.service_models import ModelService
from .services.service_supervisor import SupervisorService
from .services.steady_server import LIBRARY_LOG, Sparing, steady_server
from .settings.settings_file import Origin
from .simulation.recorder import Header, LineFile, Recorder
from .threads.serial_calls import NoAnswerError, SerialCalls
from .watchdog import Watchdog, end_s, owner_end_s
from .workers import containment
from .workers.log_book import LineFormatter, LogBook, OwnLogHandler
from .workers.planning import UNKNOWN_FACTS, Planning
from .workers.process import WORKING_FOLDER, Spawner, import_paths
from .workers.progress import Limits
from .workers.quoter import Quoter, QuoterError
from .workers.quotes import Quotes
from .workers.usage_recorder import UsageRecorder
from .workers.worker_environment import worker_environment
from .workers.workers import Workers

log = logging.getLogger(__name__)

MOST_MESSAGE_BYTES = 16 * 1024 * 1024
END_GRACE_S = 0.5
"""For the last answers to leave, the one to Shutdown among them."""

IDLE_LOOK_S = 0.5
"""Between two looks whether anybody calls."""
DRIVERS_S = 15.0
"""For the drivers of cards to tell of them; the first time, some take seconds."""
BACKENDS_S = 30.0
"""For llama.cpp to tell of its devices: the start of its process, and one question."""

SERVER_OPTIONS = (
    # Two servers could otherwise share a port without an error.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 4 * MOST_MESSAGE_BYTES),
    # What a caller may send before its token is looked at. A message that is read has the room that it needs.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
    # A connection that never says a word of HTTP/2 keeps its descriptor no longer.
    ("grpc.server_handshake_timeout_ms", 20_000),
    # Beyond this number of calls that are not accepted yet, any may be thrown away: by default a few hundred of one
    # connection cost others theirs.
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # A long prompt is a quiet stream: a client's pings must not be taken for an attack.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # Generous: a debugger's breakpoint must not cut streams.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 30_000),
)


SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (inference_pb2, "InferenceService"),
        (model_pb2, "ModelService"),
        (supervisor_pb2, "SupervisorService"),
    )
)


async def serve(
    config: Config,
    origin: Origin,
    base: Path,
    instance: Instance,
    on_ready: Callable[[Listening], None],
    *,
    owner: Owner | None,
    certificate: Certificate | None = None,
    record: LineFile | None = None,
    tell_workers: bool = False,
) -> bool:
    """Serves until it is ended; returns whether that was in order. Raises AddressError.

    `origin` is where `config` comes from, `base` where its relative paths start; `on_ready` gets the address once
    clients can connect; `owner` is the program that it ends with; with a `certificate` it serves by TLS; `record` takes
    all events and actions; `tell_workers` writes into the runtime folder how workers are called.
    """
    clock = steady_clock.install(asyncio.get_running_loop())
    watching = asyncio.create_task(clock.watch())
    logs = LogBook(instance.folder.logs)
    handler = OwnLogHandler(logs.own, asyncio.get_running_loop())
    handler.setFormatter(LineFormatter())
    logging.getLogger().addHandler(handler)
    LIBRARY_LOG.addFilter(Sparing())
    leave_job = containment.contain()
    parts = await _build(config, origin, base, instance, logs, record, tell_workers)
    loop = parts.loop
    # Half of the descriptors stay for workers, files and logs, whatever comes to the port.
    connections = ("grpc.max_allowed_incoming_connections", raise_limit() // 2)
    activity = Activity(loop.now_s)
    server = steady_server(
        (AuthInterceptor(_tokens(instance), activity),), (*SERVER_OPTIONS, connections), lambda: _leave_deaf(loop)
    )
    open_to_all = config.server.insecure_network
    credentials = _credentials(certificate) if certificate else None
    listening = listen(server, config.server.host, config.server.port, credentials, insecure_network=open_to_all)
    healthy = _add_services(server, parts, listening.address, clock)
    await parts.folders.begin()
    loop.submit(Started(loop.now_s()))
    await server.start()
    async with (
        _running(parts.sampler.run()),
        _running(parts.cpu_sampler.run()),
        _running(parts.workers.beats.run()),
        _running(keep(instance, lambda: _end(loop))),
        _running(_end_if_idle(loop, activity)),
    ):
        watchdog = Watchdog()
        with signals.heard(loop, watchdog):
            if owner:
                owner.hear(
                    asyncio.get_running_loop(),
                    on_gone=lambda: _leave_with_owner(loop),
                    bound=lambda: watchdog.arm(owner_end_s(loop.core.config.server.owner_grace_s)),
                )
            name, chain = (certificate.name, certificate.chain) if certificate else ("", b"")
            started_s = psutil.Process().create_time()
            own = Address(listening.address, os.getpid(), version("vramd"), tls_name=name, started_s=started_s)
            instance.announce(own, chain)
            _open(config, origin.file, parts, listening, certificate, instance)
            on_ready(listening)
            await _until_end(parts, healthy, watchdog)
    await parts.folders.end()
    parts.events.close()
    logs.close()
    await server.stop(END_GRACE_S)
    parts.workers.kill_all()
    parts.quoter.close()
    await parts.decisions.close()
    watching.cancel()
    leave_job()
    logging.getLogger().removeHandler(handler)
    logs.settle()
    return loop.failed is None


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    pairs = [(certificate.key, certificate.chain)]
    needs_client = certificate.client_ca is not None
    return grpc.ssl_server_credentials(pairs, certificate.client_ca, require_client_auth=needs_client)


def _tokens(instance: Instance) -> Mapping[Scope, str]:
    files = {Scope.ADMIN: instance.folder.token_file, Scope.USE: instance.folder.use_token_file}
    return {scope: instance.tokens[file] for scope, file in files.items()}


def _open(
    config: Config,
    file: Path | None,
    parts: Parts,
    listening: Listening,
    certificate: Certificate | None,
    instance: Instance,
) -> None:
    """Logs what there is."""
    core = parts.loop.core
    models = [model.spec for model in core.all_models() if model.listed]
    for level, text in opening.lines(version("vramd"), file, config, os.environ, models, core.accounts()):
        log.log(level, "%s", text)
    if listening.is_open and not certificate:
        log.log(
            max(logging.WARNING, log.getEffectiveLevel()),  # it is said however little is wished for
            "%s is open to the network without TLS (--insecure-network): the token is all that keeps others out, and "
            "it travels in clear text, as do prompts and answers; without --host only this machine can call",
            listening.real,
        )
    how = ""
    if certificate:
        how = f" by TLS as {certificate.name}{', to clients with a certificate' if certificate.client_ca else ''}"
    log.info("serves at %s%s, runtime folder %s", listening.real, how, instance.folder.path)


async def _build(
    config: Config,
    origin: Origin,
    base: Path,
    instance: Instance,
    logs: LogBook,
    record: LineFile | None,
    tell_workers: bool,
) -> Parts:
    import_paths()  # while the folder that this is started in is there
    spawner = Spawner(variables=config.server.worker_environment, asks_for_huge_pages=config.server.huge_pages)
    quoter = Quoter(spawner, WORKING_FOLDER, config.server.untested_engine)
    devices = await _all_devices(config, quoter)
    warn_of_absent(config, devices)
    samples = {device.id: await _first_sample(device) for device in devices}
    accounts = {}
    for device in devices:
        may = limits(config, device.id, device.kind, samples[device.id].total_bytes)
        accounts[device.id] = first_account(samples[device.id], may.budget_bytes, may.headroom_bytes)
    cores = usable_cores(config.server.reserved_cores)
    header = Header.of(config, accounts, cores, UNKNOWN_FACTS.idle_bytes)
    core = header.core()
    events = EventLog()
    decisions = DecisionWriter(Journal(journal_folder(instance.folder.path) / "decisions.sqlite3"))

    def do(action: OutsideAction) -> None:
        match action:
            case Spawn() | Load() | Stop() | SetThreads():
                workers.perform(action)
            case FindPlans() | FindTogether():
                planning.find_plans(action)
            case Decided(decision=decision):
                decisions.note(decision)
                about = f"{decision.model} for {decision.for_whom}" if decision.for_whom else decision.model
                log.info("%s %s: %s", decision.kind.value, about, decision.message)
            case _:
                events.publish(action)
                if words := _in_words(action):
                    log.info("%s", words)

    loop = Loop(core, do, Recorder(header, core.handle, record).handle if record else None)
    quotes = Quotes(quoter, instance.folder.path / "skeletons", devices, file_calls())
    threads = default_threads(psutil.cpu_count(logical=False), cores)
    planning = Planning(loop, devices, threads, quotes)
    recorder = UsageRecorder(MemoryBook(state_folder() / "memory.sqlite3"), quotes)
    await recorder.begin()
    sampler = Sampler(loop, devices, samples, lambda: workers.pids())  # noqa: PLW0108  they come next
    cpu_sampler = CpuSampler(loop, lambda: workers.pids())  # noqa: PLW0108
    workers = Workers(
        loop,
        devices,
        logs,
        planning,
        recorder,
        spawner,
        instance.socket_dir,
        sampler.look,
        config.scheduling.stop_s,
        config.server.untested_engine,
        Limits(config.server.stall_s, config.server.load_stall_s),
        instance.tell_worker if tell_workers else None,
        mapped=config.server.weights == "mapped",
        stream_gap_s=config.server.stream_gap_s,
    )
    folders = Folders(config, base, loop)
    selector = ModelSelector(loop, planning, folders.look_again, lambda: load_deadline_s(loop.core.config))
    reloading = Reloading(origin, loop, folders, devices, samples)
    return Parts(
        loop,
        devices,
        samples,
        sampler,
        cpu_sampler,
        planning,
        quoter,
        workers,
        events,
        decisions,
        logs,
        folders,
        selector,
        reloading,
    )


async def _all_devices(config: Config, quoter: Quoter) -> list[Device]:
    try:
        devices = await SerialCalls("the drivers of cards", DRIVERS_S).run(partial(find_devices, config))
    except NoAnswerError as error:
        log.error("no card is used: %s", error)
        return without_cards(config)
    if not has_further_backends(worker_environment(os.environ, config.server.worker_environment)):
        return devices
    try:
        return await SerialCalls("llama.cpp", BACKENDS_S).run(partial(with_backends, quoter.devices, devices))
    except (QuoterError, NoAnswerError) as error:
        log.warning("llama.cpp does not tell of its devices: %s", error)
        return devices


def _in_words(notice: Notice) -> str:
    """Words a notice for the log; empty for the frequent ones, and for those that a decision covers."""
    match notice:
        case ModelChanged(model=model, worker_id=worker_id, after=after, because=because):
            return f"{model} ({worker_id}): {after.name}: {because.words}"
        case PressureChanged(device=device, before=before, after=after, message=message):
            return f"{device}: pressure {before.name} -> {after.name}: {message}"
        case Evicted() | Thrashing() | LedgerChanged() | Released() | QueueChanged():
            return ""
        case _:
            assert_never(notice)


async def _first_sample(device: Device) -> Sample:
    """Samples a device; one that gives no answer has nothing, and is reported as unusable."""
    try:
        return await SerialCalls(device.id, LOOK_S).run(device.probe.sample)
    except (DeviceLostError, NoAnswerError) as error:
        log.warning("%s gives no answer: %s", device.id, error)
        return Sample(0, 0)


def _add_services(
    server: grpc.aio.Server, parts: Parts, address: str, clock: steady_clock.SteadyClock
) -> health.aio.HealthServicer:
    server.add_generic_rpc_handlers((InferenceService(parts).handlers(),))
    add_ModelServiceServicer_to_server(ModelService(parts), server)
    healthy = health.aio.HealthServicer()
    tell_health = partial(_tell_health, parts.loop, healthy)
    add_SupervisorServiceServicer_to_server(SupervisorService(parts, address, tell_health, clock), server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return healthy


async def _tell_health(loop: Loop, healthy: health.aio.HealthServicer) -> None:
    kinds = health_pb2.HealthCheckResponse
    for service in ("", *SERVICES):
        await healthy.set(service, kinds.NOT_SERVING if loop.core.draining else kinds.SERVING)


async def _until_end(parts: Parts, healthy: health.aio.HealthServicer, watchdog: Watchdog) -> None:
    """Waits until the core has ended everything; bounded from the shutdown on."""
    await _tell_health(parts.loop, healthy)
    await parts.loop.ending.wait()
    watchdog.arm(end_s(parts.loop.core.config.scheduling.drain_s))
    await healthy.enter_graceful_shutdown()
    try:
        await asyncio.wait_for(parts.loop.exited.wait(), parts.unload_deadline_s)
    except asyncio.TimeoutError:
        log.error("not everything has ended in time; what is left is killed")


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _leave_deaf(loop: Loop) -> None:
    log.critical("the port takes no more calls: the supervisor ends")
    loop.fail(RuntimeError("the port takes no more calls"))


def _end(loop: Loop) -> None:
    loop.submit(ShutdownRequested(loop.now_s(), force=False))


async def _end_if_idle(loop: Loop, activity: Activity) -> None:
    """Ends the supervisor once no call has come for `idle_exit_s`, and nothing is reserved."""
    while True:
        limit_s = loop.core.config.server.idle_exit_s
        if limit_s and activity.idle_s >= limit_s and not loop.core.reservations(loop.now_s()):
            log.info("no call has come for %g s: the supervisor ends", limit_s)
            _end(loop)
            return
        await asyncio.sleep(IDLE_LOOK_S)


def _leave_with_owner(loop: Loop) -> None:
    grace_s = loop.core.config.server.owner_grace_s
    log.info("its owner is gone: the supervisor ends, within %g s", grace_s)
    _end(loop)
    force = ShutdownRequested(loop.now_s() + grace_s, force=True)
    asyncio.get_running_loop().call_later(grace_s, loop.submit, force)
