"""Weights that are read from a file, or mapped: the same answers; only what is mapped needs the file afterwards."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import vramd
from support.gguf_models import Shape, random_llama
from support.supervisor_process import SupervisorProcess, until

pytest.importorskip("llama_cpp")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds of files is told on Linux only")


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return random_llama(folder / "rambler.gguf", Shape(embedding=512, layers=4, feed_forward=1408))


def configured(weights: str, file: Path) -> str:
    return f'[server]\nweights = "{weights}"\n[models.rambler]\npath = "{file}"\ncontext = 512\n'


def test_a_receipt_says_what_was_the_process_and_what_the_file(path: Path) -> None:
    texts, in_files = [], {}
    for weights in ("read", "mapped"):
        with SupervisorProcess(configured(weights, path)) as supervisor:
            client = supervisor.client()
            client.load("rambler")
            texts.append(client.generate("rambler", "hello", max_tokens=20, temperature=0).text)
            (device,) = client.unload("rambler").devices
            kinds = re.search(
                r": ([\d.]+) MiB of its own, .+ in huge pages, ([\d.]+) MiB in pages of files$", device.reason
            )
            assert kinds, device.reason
            assert device.observed_bytes == pytest.approx((float(kinds[1]) + float(kinds[2])) * 2**20, rel=0.01)
            in_files[weights] = float(kinds[2]) * 2**20
    assert texts[0] == texts[1]
    assert in_files["mapped"] - in_files["read"] > 0.9 * path.stat().st_size


@pytest.mark.parametrize("weights", ["read", "mapped"])
def test_a_file_that_is_cut_short_ends_at_most_the_worker_that_maps_it(
    path: Path, tmp_path: Path, weights: str
) -> None:
    file = Path(shutil.copy(path, tmp_path))
    with SupervisorProcess(configured(weights, file)) as supervisor:
        client = supervisor.client()
        pid = client.load("rambler").pid
        os.truncate(file, 4096)
        if weights == "read":
            assert client.generate("rambler", "hello", max_tokens=4).text
            assert [one.pid for one in client.resident()] == [pid]
            return
        with pytest.raises(vramd.VramdError, match="rambler"):
            _ = client.generate("rambler", "hello", max_tokens=4).text
        until(
            "its end is told", lambda: "SIGBUS, as happens when a file that it has mapped is cut short" in told(client)
        )
        assert supervisor.process.poll() is None


def told(client: vramd.Client) -> str:
    return " ".join(decision.message for decision in client.decisions())
