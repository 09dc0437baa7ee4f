"""The reasons that only a real engine gives, seen by a real client."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import vramd
from support.gguf_models import random_bert, random_llama
from support.reasons import ENGINE_ONLY, check
from support.supervisor_process import SupervisorProcess
from vramd_common.reasons import Reason

pytest.importorskip("llama_cpp")

CASES: Mapping[Reason, Callable[[vramd.Client], object]] = {
    Reason.MODEL_UNSUPPORTED: lambda client: client.load("strange"),
    Reason.EMBEDDING_UNSUPPORTED: lambda client: client.embed("plain", "the"),
    Reason.GENERATION_UNSUPPORTED: lambda client: client.generate("encoder", "the").text,
    Reason.CHAT_TEMPLATE_UNUSABLE: lambda client: client.chat("plain", "the").text,
    Reason.OUTPUT_NOT_FINITE: lambda client: client.generate("spoilt", "the").text,
}


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[vramd.Client]:
    random_llama(folder / "strange.gguf", architecture="strange")
    random_llama(folder / "plain.gguf", chat_template=None)
    random_llama(folder / "spoilt.gguf", spoilt={"blk.0.attn_q.weight": dict.fromkeys(range(128), math.nan)})
    random_bert(folder / "encoder.gguf")
    with SupervisorProcess(arguments=("--port", "0", "--models", str(folder))) as supervisor:
        yield supervisor.client()


def test_each_reason_of_the_engine_has_its_case() -> None:
    assert set(CASES) == ENGINE_ONLY


@pytest.mark.parametrize("reason", CASES, ids=lambda reason: reason.name)
def test_reason_of_the_engine_reaches_the_client(reason: Reason, client: vramd.Client) -> None:
    with pytest.raises(vramd.VramdError) as failed:
        CASES[reason](client)
    check(failed.value, reason)
    assert client.generate("plain", "the", max_tokens=2).finish is not None
