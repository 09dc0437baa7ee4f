"""Looks after the runtime folder while the supervisor runs: clients find it there, and a second one is kept out."""

import asyncio
import logging
from collections.abc import Callable

from .instance import AlreadyRunningError, Instance
from .threads.lane import Lane, NoAnswerError

log = logging.getLogger(__name__)

PERIOD_S = 1.0
KEEP_S = 10.0


async def keep(instance: Instance, on_taken: Callable[[], None], period_s: float = PERIOD_S) -> None:
    """Until it is cancelled, or until another supervisor has the folder: then it calls `on_taken` and returns."""
    lane, folder, said = Lane(str(instance.folder.path), KEEP_S), instance.folder.path, ""
    while True:
        await asyncio.sleep(period_s)
        why = ""
        try:
            if await lane.run(instance.keep):
                log.warning("the runtime folder %s, or what belongs there, was removed; it is made anew", folder)
        except AlreadyRunningError as error:
            log.error("the runtime folder was removed, and now %s: this one ends, as nobody can find it", error)
            on_taken()
            return
        except (OSError, NoAnswerError) as error:
            why = str(error)
        if why and why != said:
            log.error("the runtime folder cannot be kept: new clients may not find this supervisor: %s", why)
        said = why
