"""The channel to a worker."""

import asyncio
from pathlib import Path

import pytest
from vramd_supervisor.workers.worker_client import WorkerClient

BOUND_S = 10.0


@pytest.mark.parametrize("before", [True, False])
def test_a_channel_that_is_closed_is_no_connection(tmp_path: Path, before: bool) -> None:
    async def story() -> bool:
        client = WorkerClient(f"unix:{tmp_path}/nobody", "nonce", lambda *_: None)
        if before:
            await client.close()
        connecting = asyncio.ensure_future(client.connect())
        await asyncio.sleep(0)
        await client.close()
        return await asyncio.wait_for(connecting, BOUND_S)

    assert asyncio.run(story()) is False
