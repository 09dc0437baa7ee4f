"""Some clients of a soak in one process, which may be killed or stopped at any moment.

python -m support.soak.client PLAN NUMBER
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import vramd
from support.soak import models
from support.soak.requests import OK, Journal

PAUSE_S = (0.2, 1.0)
TOKENS = (5, 60)
PACE = 60.0
"""Tokens per second of a model of llama.cpp, which else would be done before anything could happen to it."""
REFUSED: dict[str, dict[str, Any]] = {
    "FIELD_INVALID": {"temperature": -1},
    "PROMPT_TOO_LARGE": {"prompt": "word " * (2 << 20)},
    "MODEL_NOT_FOUND": {"model": "stranger"},
}
LATE = ("DEADLINE_PASSED", "DEADLINE_EXCEEDED")


class WrongTextError(Exception):
    """An answer is not what the model says when nothing happens."""


class Client:
    """Asks for one thing after the other, at random."""

    def __init__(self, plan: dict[str, Any], journal: Journal, choice: random.Random) -> None:
        self._plan, self._journal, self._choice = plan, journal, choice
        self._client = vramd.AsyncClient(plan["runtime_dir"])
        self._kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (66, self._stream),
            (15, self._cancel),
            (5, self._hurry),
            (5, self._invalid),
            (4, self._slow),
            (2, self._embed),
            (3, self._operate),
        ]

    async def run(self) -> None:
        weights, kinds = zip(*self._kinds, strict=True)
        async with self._client:
            while time.time() < self._plan["until_s"]:
                await asyncio.sleep(self._choice.uniform(*PAUSE_S))
                (kind,) = self._choice.choices(kinds, weights)
                await kind()

    async def _made(
        self,
        kind: str,
        model: str,
        work: Callable[[], Awaitable[str]],
        *more: str,
        stream: vramd.AsyncStream | None = None,
        unloads: bool = False,
    ) -> None:
        """Makes a request and writes down how it ends: by `work`, whose result is an end too, or by a failure."""
        number = self._journal.begun(kind, model, (OK, *more), unloads=unloads)
        try:
            end = await work()
            timeline = await stream.timeline if stream and end == OK else None
            self._journal.ended(number, end, resumes=timeline.resumes if timeline else 0)
        except vramd.VramdError as failure:
            self._journal.ended(number, failure.reason, str(failure))
        except WrongTextError as wrong:
            self._journal.ended(number, "WRONG_TEXT", str(wrong))

    def _model(self, among: Iterable[str] = models.SERVING) -> str:
        return self._choice.choice(list(among))

    def _answer(self, model: str, **settings: Any) -> tuple[vramd.AsyncStream, str]:
        """An answer, and the text that it has to be."""
        settings = {"timeout_s": self._plan["deadline_s"], **settings}
        prompt = f"{self._choice.randrange(1 << 30)} x"  # what is recited begins behind what is none of it
        if model in models.RECITING:
            stream = self._client.generate(model, prompt, temperature=0, max_tokens_per_s=PACE, **settings)
            return stream, self._plan["texts"][model]
        seed, tokens = self._choice.randrange(1, 1 << 30), self._choice.randint(*TOKENS)
        stream = self._client.generate(model, prompt, seed=seed, max_tokens=tokens, **settings)
        return stream, models.simulated_text(seed, tokens)

    async def _stream(self) -> None:
        stream, right = self._answer(model := self._model())

        async def work() -> str:
            return checked(await stream.text, right)

        await self._made("stream", model, work, stream=stream)

    async def _slow(self) -> None:
        stream, right = self._answer(model := self._model())

        async def work() -> str:
            async for _ in stream:
                await asyncio.sleep(0.05)
            return checked(stream.received, right)

        await self._made("slow", model, work, stream=stream)

    async def _cancel(self) -> None:
        stream, right = self._answer(model := self._model())
        after = self._choice.randint(0, 20)

        async def work() -> str:
            async with stream:
                count = 0
                async for _ in stream:
                    if (count := count + 1) > after:
                        break
                if not right.startswith(stream.received):
                    raise WrongTextError(f"{stream.received!r} does not begin {right!r}")
            return "CANCELLED"

        await self._made("cancel", model, work, "CANCELLED")

    async def _hurry(self) -> None:
        stream, right = self._answer(model := self._model(), timeout_s=self._choice.uniform(0.001, 0.05))

        async def work() -> str:
            return checked(await stream.text, right)

        await self._made("hurry", model, work, *LATE)

    async def _invalid(self) -> None:
        reason = self._choice.choice(list(REFUSED))

        async def work() -> str:
            request = {"model": self._model(), "prompt": "x", **REFUSED[reason]}
            await self._client.generate(**request, timeout_s=self._plan["deadline_s"]).text
            raise WrongTextError(f"{reason} was answered")

        await self._made("invalid", "", work, reason)

    async def _embed(self) -> None:
        model = self._model(models.SIMULATED)

        async def work() -> str:
            found = await self._client.embed(model, ["a", "b"], timeout_s=self._plan["deadline_s"])
            return OK if len(found) == 2 else "WRONG_TEXT"

        await self._made("embed", model, work)

    async def _operate(self) -> None:
        """What a person does who manages models."""
        model, limit_s = self._model(), self._plan["deadline_s"]
        is_pinned = bool(models.SIMULATED.get(model, {}).get("pinned"))
        deeds: dict[str, Callable[[], Awaitable[object]]] = {
            "load": lambda: self._client.load(model, timeout_s=limit_s),
            "unload": lambda: self._client.unload(model, timeout_s=limit_s),
            "pin": lambda: self._client.update(model, pinned=True, timeout_s=limit_s),
            "unpin": lambda: self._client.update(model, pinned=is_pinned, timeout_s=limit_s),
        }
        deed = self._choice.choice(list(deeds))

        async def work() -> str:
            await deeds[deed]()
            return OK

        more = {"unload": ("MODEL_NOT_LOADED",), "load": ("MODEL_UNLOADED",)}.get(deed, ())
        await self._made(deed, model, work, *more, unloads=deed == "unload")


def checked(text: str, right: str) -> str:
    if text != right:
        raise WrongTextError(f"{text!r} instead of {right!r}")
    return OK


async def main(plan_file: Path, number: int) -> None:
    plan = json.loads(plan_file.read_text("utf-8"))
    journal = Journal(Path(plan["folder"]), number)
    seeds = random.Random(f"{plan['seed']} {number}")
    clients = [Client(plan, journal, random.Random(seeds.random())) for _ in range(plan["clients_each"])]
    await asyncio.gather(*(client.run() for client in clients))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
