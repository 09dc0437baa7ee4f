"""The helper process that asks llama.cpp what a load would take, without loading it.

One question at a time, in JSON lines. It parses strangers' files natively, and what was made of them, so it may die or
hang; then it is started again for the next question. It makes no context of a driver. Without questions for a while it
leaves.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
from collections.abc import Mapping
from typing import Any

from vramd_common.reasons import Reason
from vramd_common.rendezvous import Orders

from ..devices.backend import BackendDevice
from ..domain.catalog import Problem
from ..threads.serial_calls import NoAnswerError, SerialCalls
from .helper import LAST_WORDS_S, Death, Helper
from .process import Spawner, import_paths

log = logging.getLogger(__name__)

START_S = 15.0
ANSWER_S = 10.0
"""A dry run takes milliseconds; a large model on a busy machine some more."""
IDLE_S = 30.0
"""Without a question for so long the process ends; the next one pays for its start again."""
REAP_S = 5.0
"""A process that is killed and still there after this is in the hands of the kernel."""
_REFUSED = {
    reason.name: reason for reason in (Reason.MODEL_FILE_INVALID, Reason.MODEL_UNSUPPORTED, Reason.FIELD_INVALID)
}


class QuoterError(Exception):
    """There is no answer: the helper cannot be used, died or hung; the text says which."""


class HelperDiedError(QuoterError):
    """The helper ended by its own fault over the question."""

    def __init__(self, death: Death) -> None:
        self.why = death.said or death.exit
        self.said = bool(death.said)
        """Whether it said why."""
        super().__init__(f"it gave no answer: the helper has ended: {self.why}")


class EngineRefusedError(Exception):
    """llama.cpp says no, here as it would in a load."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


class Quoter:
    """Starts the helper when it is needed. For the loop's thread."""

    def __init__(self, spawner: Spawner, cwd: str, untested_engine: bool) -> None:
        self._spawner = spawner
        self._cwd = cwd
        self._untested_engine = untested_engine
        self._helper: Helper | None = None
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None
        self.problem = ""
        """Why the helper cannot be used in this installation; empty while it can."""

    @property
    def pid(self) -> int | None:
        return self._helper.pid if self._helper else None

    async def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        """One question, one answer. Raises QuoterError and EngineRefusedError. Waits for those asked before it."""
        async with self._turn:
            if self.problem:
                raise QuoterError(self.problem)
            if self._idle:
                self._idle.cancel()
            try:
                return await self._exchange(question)
            finally:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def devices(self) -> list[BackendDevice]:
        """The devices that llama.cpp's backends tell of. Blocks as long as `ask` waits; not for the loop's thread."""
        answer = asyncio.run_coroutine_threadsafe(self.ask({"devices": True}), self._loop).result()
        return [
            BackendDevice(
                str(told["name"]),
                str(told["description"]),
                str(told["type"]),
                int(told["total_bytes"]),
                int(told["free_bytes"]),
                str(told["id"]),
            )
            for told in answer["devices"]
        ]

    async def _exchange(self, question: Mapping[str, object]) -> dict[str, Any]:
        helper = self._helper or await self._start()
        line = json.dumps(question).encode() + b"\n"
        answer = await self._within(ANSWER_S, helper, line, "it gave no answer")
        if reason := _REFUSED.get(str(answer.get("refused"))):
            raise EngineRefusedError(Problem(reason, str(answer.get("message"))))
        if problem := answer.get("problem"):
            raise QuoterError(f"llama.cpp cannot tell: {problem}")
        return answer

    async def _start(self) -> Helper:
        try:
            helper = self._helper = Helper(await self._spawner.start("vramd_quoter", self._cwd))
        except (NoAnswerError, OSError, RuntimeError) as error:  # no file, no memory, no thread
            raise QuoterError(f"the helper could not be started: {error}") from error
        orders = Orders(import_paths(), os.getpid(), secrets.token_hex(16), "", self._untested_engine)
        hello = await self._within(START_S, helper, orders.line(), "it did not start")
        if not hello.get("ready"):
            self.problem = str(hello.get("problem") or "the helper did not say why")
            self.close()
            log.warning("memory is estimated, not asked of llama.cpp: %s", self.problem)
            raise QuoterError(self.problem)
        return helper

    async def _within(self, limit_s: float, helper: Helper, line: bytes, failed: str) -> dict[str, Any]:
        """Ends the process if the answer is late, or is none: then it cannot be trusted with the next one either."""
        try:
            # A new thread: an answer that hangs ends with its process.
            return await SerialCalls("the helper", limit_s).run(lambda: helper.ask(line))
        except NoAnswerError as error:
            self.close()
            raise QuoterError(f"{failed}: {error}") from None
        except OSError as error:
            self.close()
            raise QuoterError(f"{failed}: {error}") from error
        except ValueError as error:
            self.close()
            if death := await _death(helper):
                raise HelperDiedError(death) from error
            raise QuoterError(f"{failed}: {error}") from error
        except BaseException:
            self.close()
            raise

    async def end(self) -> None:
        """Ends the process, and waits until it is gone."""
        helper = self._helper
        self.close()
        if helper:
            with contextlib.suppress(NoAnswerError):
                await SerialCalls("the helper's end", 2 * REAP_S).run(lambda: helper.wait(REAP_S))

    def close(self) -> None:
        """Ends the process, if there is one. Harmless to repeat."""
        helper, self._helper = self._helper, None
        if self._idle:
            self._idle.cancel()
        if helper:
            helper.end()


async def _death(helper: Helper) -> Death | None:
    try:
        return await SerialCalls("the helper's end", 3 * LAST_WORDS_S).run(helper.death)
    except NoAnswerError:
        return None
