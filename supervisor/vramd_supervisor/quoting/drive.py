"""Runs a generator that yields questions until it returns its result. Pure."""

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar, cast

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Found = TypeVar("Found")


def drive(asking: Generator[Question, Answer, Found], answer: Callable[[Question], Answer]) -> Found:
    """Runs the generator and answers each question synchronously."""
    try:
        question = next(asking)
        while True:
            question = asking.send(answer(question))
    except StopIteration as end:
        return cast(Found, end.value)


async def drive_async(
    asking: Generator[Question, Answer, Found], answer: Callable[[Question], Awaitable[Answer]]
) -> Found:
    """Runs the generator and awaits each answer."""
    try:
        question = next(asking)
        while True:
            question = asking.send(await answer(question))
    except StopIteration as end:
        return cast(Found, end.value)
