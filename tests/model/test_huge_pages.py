"""A model in RAM lies in huge pages, unless the configuration forbids it; the ledger has what it takes either way."""

import re
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_llama
from support.supervisor_process import SupervisorProcess
from vramd_supervisor.workers import huge_pages

pytest.importorskip("llama_cpp")

pytestmark = pytest.mark.skipif(not huge_pages.given(), reason="this system gives no huge pages")

HUGE_PAGE_BYTES = 2 << 20


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return random_llama(folder / "rambler.gguf", Shape(embedding=512, layers=4, feed_forward=1408))


@pytest.mark.parametrize(
    "wanted",
    [
        True,
        pytest.param(False, marks=pytest.mark.skipif(huge_pages.kernel_mode() == "always", reason="all programs do")),
    ],
    ids=["by default", "switched off"],
)
def test_weights_and_cache_lie_in_huge_pages(path: Path, wanted: bool) -> None:
    setting = "" if wanted else "huge_pages = false\n"
    configuration = f'[server]\n{setting}[models.rambler]\npath = "{path}"\ncontext = 2048\n'
    with SupervisorProcess(configuration) as supervisor:
        client = supervisor.client()
        resident = client.load("rambler")
        assert client.generate("rambler", "hello", max_tokens=4).text
        assert resident.pid
        assert resident.quote is not None
        (need,) = resident.quote.devices
        in_huge_pages = kept_in_huge_pages(resident.pid)
        if wanted:
            assert in_huge_pages >= need.weights_bytes + need.context_bytes - 4 * HUGE_PAGE_BYTES
        else:
            assert in_huge_pages == 0
        receipt = client.unload("rambler")
        assert receipt.observed_bytes is not None
        told = re.search(r" ([\d.]+) MiB of it in huge pages", receipt.devices[0].reason)
        assert told, receipt.devices[0].reason
        # The kernel may have put more of it there meanwhile.
        assert in_huge_pages / 2**20 - 0.05 <= float(told[1]) <= (receipt.observed_bytes / 2**20 + 0.05) * wanted
        assert in_huge_pages <= receipt.observed_bytes <= receipt.expected_bytes


def kept_in_huge_pages(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("AnonHugePages:"))
    return int(line.split()[1]) << 10
