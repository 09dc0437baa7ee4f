"""Quotes the memory of loads: by a dry run of llama.cpp, else by formulas; corrected by past loads.

From best to worst: the peaks of the same load, the dry run over the model's skeleton, the closed forms, the file's
size. If one fails, the next answers, and the quote names its source. A refusal by llama.cpp is an answer, no failure.
"""

import asyncio
import logging
import os
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vramd_common.load_settings import Settings
from vramd_common.reasons import Reason

from ..devices.device import Device
from ..devices.nvidia import NVIDIA
from ..domain.catalog import ModelFile, Problem
from ..domain.device_view import HOST, DeviceKind
from ..domain.errors import Refusal
from ..domain.quote import Answer, Confidence, DeviceBytes, Quote, Source
from ..files.discovery import file_calls, read_with_headers, unanswered
from ..files.gguf_values import UnreadableModelError
from ..files.skeleton import skeleton_key, write_skeleton
from ..files.walk import stamp
from ..quoting.closed_form import host_process_bytes, known, pool_bytes, problem_of
from ..quoting.closed_form import quote as closed_form
from ..quoting.drive import drive_async
from ..quoting.learning import LearnedUsage, Place, adjust, load_key
from ..quoting.placement import LoadPlans, Placing
from ..threads.serial_calls import NoAnswerError, SerialCallsByName
from .process import Spawner
from .quoter import EngineRefusedError, HelperDiedError, Quoter, QuoterError
from .verdicts import Verdicts

log = logging.getLogger(__name__)

_LEAST_SETTINGS = Settings(256, 1, HOST, 0, 256, "f16", parallel=1, ubatch_tokens=256, outputs=1)
"""With which a file is tried: what llama.cpp refuses here it refuses for the file's sake."""

MOST_ASKED_TOKENS = 1 << 20
"""Above this context the need is computed: for the dry run llama.cpp keeps a table of the cells, 52 bytes and 0.15 µs
for each, so that one question for 16 million took 4 s and 870 MB."""
_MOST_CACHED = 2048
_MOST_SKELETONS = 64


@dataclass(frozen=True)
class EngineFacts:
    """The engine, as the workers of this installation have reported it."""

    llama_problem: str
    """Why no model of llama.cpp can be loaded; empty if they can."""
    backends: Sequence[str]
    idle_bytes: int
    """Host memory of a worker without a model, measured."""
    version: str = ""
    """Version of llama-cpp-python."""

    @property
    def build(self) -> str:
        """The key of residuals."""
        return f"{self.version} {'+'.join(self.backends)}"


@dataclass(frozen=True)
class QuotedFile:
    """A model that quotes are wanted for, as its files are now."""

    file: ModelFile
    digest: str
    """Digest of the file's skeleton; empty if it has none."""
    skeleton: Path | None


class Quotes:
    """Made by the composition root. For the loop's thread."""

    def __init__(self, quoter: Quoter, folder: Path, devices: Sequence[Device], reading: SerialCallsByName) -> None:
        """`folder` takes the skeletons; `reading` has a thread for each file of a model."""
        self._quoter = quoter
        self._folder = folder
        self._reading = reading
        self._devices = {device.id: device for device in devices}
        self._cache: OrderedDict[tuple[object, ...], Mapping[str, DeviceBytes] | Problem] = OrderedDict()
        self._said = ""
        self.verdicts = Verdicts()
        self.lessons = LearnedUsage()
        """The corrections by past loads; kept current by the `UsageRecorder`."""

    async def quoted(self, path: Path) -> QuotedFile:
        """Reads a model's header and writes its skeleton, in a thread. One that does not answer has a problem."""
        try:
            return await self._reading.run(str(path), lambda: self._subject(path))
        except NoAnswerError as error:
            return QuotedFile(unanswered(path, error), "", None)

    def _subject(self, path: Path) -> QuotedFile:
        file, headers = read_with_headers(path)
        if file.problem:
            return QuotedFile(file, "", None)
        try:
            digest = skeleton_key(headers)
            skeleton = self._folder / f"{digest[:32]}.gguf"
            try:
                os.utime(skeleton)
            except FileNotFoundError:
                for folder in (self._folder.parent, self._folder):
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._forget_skeletons()
                write_skeleton(headers, skeleton)
        except (UnreadableModelError, OSError) as error:
            log.warning("%s: its memory is estimated, it has no skeleton: %s", path, error)
            return QuotedFile(file, "", None)
        return QuotedFile(file, digest, skeleton)

    def _forget_skeletons(self) -> None:
        kept = sorted(self._folder.glob("*.gguf"), key=_modified_ns)
        for file in kept[: max(0, len(kept) - _MOST_SKELETONS + 1)]:
            file.unlink(missing_ok=True)

    async def tried(self, quoted: QuotedFile, facts: EngineFacts) -> QuotedFile:
        """The same model, with its problem if llama.cpp refuses the file itself, or gives itself up over it.

        It is read whole but for its weights, its tokenizer too, in the helper: what a load would find out with others
        evicted for it. Once for each file as it is.
        """
        if quoted.file.problem or self.verdicts.is_tried(quoted.file, facts.build):
            return self._judged(quoted, facts)
        try:
            problem = await self._objection(quoted.file.path)
        except QuoterError as error:
            log.info("%s: whether llama.cpp takes it is not known, for %s", quoted.file.path, error)
        else:
            self.verdicts.tried(quoted.file, facts.build, problem)
        return self._judged(quoted, facts)

    async def _objection(self, path: str) -> Problem | None:
        """Returns llama.cpp's objection to a file, if any. Raises QuoterError if it cannot be asked."""
        question = self._question(path, _LEAST_SETTINGS) | {"whole": True}
        try:
            try:
                await self._quoter.ask(question)
            except HelperDiedError as error:
                if error.said:
                    raise
                await self._quoter.ask(question)  # what comes again is the file's doing
        except EngineRefusedError as refused:
            return refused.problem
        except HelperDiedError as error:
            return Problem(Reason.MODEL_UNSUPPORTED, f"llama.cpp gives itself up over it: {error.why}")
        return None

    def _judged(self, quoted: QuotedFile, facts: EngineFacts) -> QuotedFile:
        problem = quoted.file.problem or self.verdicts.of(quoted.file, facts.build)
        return replace(quoted, file=replace(quoted.file, problem=problem))

    async def quote(self, quoted: QuotedFile, settings: Settings, facts: EngineFacts) -> Answer:
        """Quotes a load with these settings, or returns why llama.cpp refuses them; falls back to a worse source."""
        begun_s = asyncio.get_running_loop().time()
        if problem := self.verdicts.about(quoted.file, settings, facts.build):
            return problem
        found = await self._uncorrected(quoted, settings, facts)
        if isinstance(found, Problem):
            return found
        key = self.key(quoted.digest, settings, facts)
        corrected = adjust(found, key, self.places(found.devices, facts), self.lessons) if key else found
        return replace(corrected, key=key, seconds=asyncio.get_running_loop().time() - begun_s)

    async def _uncorrected(self, quoted: QuotedFile, settings: Settings, facts: EngineFacts) -> Answer:
        if known(quoted.file.shape) and settings.context_tokens > MOST_ASKED_TOKENS:
            return _computed(quoted.file, settings, facts)
        try:
            return await self._dry_run(quoted, settings, facts)
        except EngineRefusedError as refused:
            return refused.problem
        except QuoterError as error:
            if str(error) != self._said:
                log.warning("%s: memory is computed by formulas, for %s", quoted.file.path, error)
                self._said = str(error)
            return _computed(quoted.file, settings, facts)

    async def answer(self, placing: Placing, quoted: QuotedFile, facts: EngineFacts) -> LoadPlans | Refusal:
        """Gives a placement the quotes that it asks for, to its end."""
        return await drive_async(placing, lambda settings: self.quote(quoted, settings, facts))

    def key(self, digest: str, settings: Settings, facts: EngineFacts) -> str:
        """Returns the key under which a load is recorded; empty if it cannot be."""
        places = self.places({*settings.devices, HOST}, facts)
        return load_key(digest, settings, places) if digest else ""

    def places(self, devices: Mapping[str, object] | set[str], facts: EngineFacts) -> dict[str, Place]:
        """Where what is learned of these devices holds."""
        return {id_: self._place(id_, facts.build) for id_ in devices}

    def _place(self, id_: str, build: str) -> Place:
        device = self._devices.get(id_)
        return Place(device.uuid or id_, device.driver, build) if device else Place(id_, "", build)

    async def _dry_run(self, quoted: QuotedFile, settings: Settings, facts: EngineFacts) -> Quote:
        if quoted.skeleton is None:
            raise QuoterError("there is no skeleton")
        engine = await self._engine_bytes(quoted, settings)
        some_on_host = settings.device != HOST and 0 <= settings.gpu_layers <= quoted.file.shape.layers
        if any(quoted.file.shape.state_bytes) and some_on_host and settings.parallel > 1:
            # Of a recurrent state that is partly on the host, one sequence alone may take more scratch than many do.
            alone = await self._engine_bytes(quoted, replace(settings, parallel=1, outputs=1))
            engine = {id_: _with_scratch(need, alone[id_].compute_bytes) for id_, need in engine.items()}
        extra = {HOST: host_process_bytes(quoted.file.shape, facts.idle_bytes)}
        for id_ in settings.devices:
            if id_ != HOST:
                device = self._devices.get(id_)
                kind = device.kind if device else DeviceKind.NVIDIA
                extra[id_] = kind.context_bytes
                if kind.has_pool and known(quoted.file.shape):
                    extra[id_] += pool_bytes(quoted.file.shape, settings)
        needs = {id_: need.plus(DeviceBytes(process_bytes=extra[id_])) for id_, need in engine.items()}
        return Quote(needs, Confidence.EXACT, Source.DRY_RUN)

    async def _engine_bytes(self, quoted: QuotedFile, settings: Settings) -> Mapping[str, DeviceBytes]:
        """Raises QuoterError and EngineRefusedError.

        Where the skeleton is refused, or ends the helper, the file itself has the last word: a skeleton may lack what
        an architecture needs.
        """
        question = self._question(str(quoted.skeleton), settings)
        key = question["path"], replace(settings, threads=1)
        if key not in self._cache:
            try:
                self._cache[key] = await self._asked(question, settings)
            except (EngineRefusedError, HelperDiedError):
                self._cache[key] = await self._last_word(question | {"path": quoted.file.path}, settings)
            if len(self._cache) > _MOST_CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        known = self._cache[key]
        if isinstance(known, Problem):
            raise EngineRefusedError(known)
        return known

    async def _last_word(
        self, question: Mapping[str, object], settings: Settings
    ) -> Mapping[str, DeviceBytes] | Problem:
        try:
            return await self._asked(question, settings)
        except EngineRefusedError as refused:
            return refused.problem
        except HelperDiedError as error:
            return Problem(Reason.MODEL_UNSUPPORTED, f"llama.cpp gives itself up over these settings: {error.why}")

    async def _asked(self, question: Mapping[str, object], settings: Settings) -> Mapping[str, DeviceBytes]:
        answer = await self._quoter.ask(question)
        gpus = [device for device in settings.devices if device != HOST]
        try:
            engine = {HOST: _bytes(answer["host"])}
            engine.update({id_: _bytes(told) for id_, told in zip(gpus, answer["gpus"], strict=True)})
        except (KeyError, TypeError, ValueError) as error:
            raise QuoterError(f"the helper's answer cannot be read: {error!r}") from error
        return engine

    def _question(self, path: str, settings: Settings) -> dict[str, object]:
        used = [self._devices[id_] for id_ in settings.devices if id_ in self._devices]
        # A card that is not there is taken for one by NVIDIA.
        gpus = [id_ for id_ in settings.devices if id_ != HOST]
        names = used[0].backend.helper_names(used) if used else NVIDIA.helper_names(gpus)
        return {"path": path, "settings": asdict(replace(settings, threads=1)), "devices": list(names)}


@asynccontextmanager
async def standalone_quotes() -> AsyncIterator[Quotes]:
    """Quotes without a supervisor; knows no devices and remembers nothing. The helper process ends with the block."""
    with tempfile.TemporaryDirectory(prefix="vramd-") as folder:
        quoter = Quoter(Spawner(), folder, untested_engine=False)
        try:
            yield Quotes(quoter, Path(folder), (), file_calls())
        finally:
            await quoter.end()


def _modified_ns(file: Path) -> int:
    """0 for one that another thread has removed."""
    is_now = stamp(file)
    return is_now.modified_ns if is_now else 0


def _computed(file: ModelFile, settings: Settings, facts: EngineFacts) -> Answer:
    return problem_of(file.shape, settings) or closed_form(file, settings, facts.idle_bytes)


def _with_scratch(need: DeviceBytes, least_bytes: int) -> DeviceBytes:
    return replace(need, compute_bytes=max(need.compute_bytes, least_bytes))


def _bytes(told: Mapping[str, Any]) -> DeviceBytes:
    return DeviceBytes(int(told["weights_bytes"]), int(told["context_bytes"]), int(told["compute_bytes"]))
