"""A worker that lies: about what, a file `lie` beside this folder says. It looks like the real one to a supervisor.

Python finds this package instead of the real one where its parent folder is in PYTHONPATH.
"""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LIE = Path(__file__).parents[1].joinpath("lie").read_text("utf-8")
ORDERS = json.loads(sys.stdin.buffer.readline())
sys.path[:0] = ORDERS["paths"]

import grpc  # noqa: E402  found by the orders
from google.protobuf.any_pb2 import Any as Anything  # noqa: E402
from google.rpc.error_details_pb2 import ErrorInfo  # noqa: E402
from google.rpc.status_pb2 import Status  # noqa: E402
from vramd_proto.internal.v1 import worker_pb2 as private  # noqa: E402
from vramd_proto.v1 import inference_pb2 as public  # noqa: E402

MIB = 1 << 20
HELLO = {
    "protocol": 1,
    "nonce": ORDERS["nonce"],
    "pid": os.getpid(),
    "address": f"unix:{ORDERS['socket_dir']}/{os.getpid()}.0",
    "llama_version": "",
    "llama_problem": "",
    "backends": [],
}
HELLOS: dict[str, Callable[[], bytes]] = {
    "hello: no pid": lambda: told(pid=-1),
    "hello: pid of init": lambda: told(pid=1),
    "hello: pid of the supervisor": lambda: told(pid=ORDERS["parent_pid"]),
    "hello: pid without end": lambda: told(pid=10**30),
    "hello: pid that is no number": lambda: json.dumps({**HELLO, "pid": math.inf}).encode(),
    "hello: nonce": lambda: told(nonce="0" * 32),
    "hello: protocol": lambda: told(protocol=2),
    "hello: address elsewhere": lambda: told(address="dns:example.com:80"),
    "hello: socket of another": lambda: told(address=f"unix:{ORDERS['socket_dir']}/1.0"),
    "hello: no message": lambda: b"ready!",
    "hello: without end": lambda: b"x" * 70_000,
    "hello: nested": lambda: b"[" * 60_000,
    "hello: a thousand backends": lambda: told(backends=["cuda"] * 1000),
}


def told(**lies: object) -> bytes:
    return json.dumps({**HELLO, **lies}).encode()


def progress(share: float) -> bytes:
    return private.WorkerLoadResponse(progress=share).SerializeToString()


def loaded(**lies: Any) -> bytes:
    facts = private.WorkerLoaded(**{"context_tokens": 512, **lies})
    return private.WorkerLoadResponse(loaded=facts).SerializeToString()


def piece(text: str = "word ", *ids: int, finish: bool = False) -> bytes:
    message = public.ChatResponse(text=text, token_ids=ids or (1,))
    if finish:
        message.finish.reason = public.FINISH_REASON_STOP
    return message.SerializeToString()


def of_another_kind(context: Any, code: grpc.StatusCode = grpc.StatusCode.UNAUTHENTICATED) -> bytes:
    context.abort(code, "secrets of the worker")
    raise AssertionError


def of_the_supervisor(context: Any) -> bytes:
    status, detail = Status(code=14, message="go away"), Anything()
    detail.Pack(ErrorInfo(reason="SHUTTING_DOWN", domain="vramd"))
    status.details.append(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNAVAILABLE, "go away")
    raise AssertionError


def load(context: Any) -> Iterator[bytes]:  # noqa: PLR0912  there are so many lies
    if LIE.startswith("beat"):
        time.sleep(60)
    match LIE:
        case "load: no number":
            yield progress(math.nan)
        case "load: more than all":
            yield progress(7)
        case "load: back":
            yield progress(0.5)
            yield progress(0.4)
        case "load: progress without end":
            while context.is_active():
                yield progress(0.5)
        case "load: no last word":
            yield progress(0.5)
            return
        case "load: twice":
            yield loaded()
        case "load: no context":
            yield loaded(context_tokens=0)
        case "load: context out of range":
            yield loaded(context_tokens=(1 << 32) - 1)
        case "load: memory out of range":
            yield loaded(memory=[private.WorkerMemory(weights_bytes=(1 << 64) - 1)])
        case "load: a message of a mebibyte":
            yield loaded(memory=[private.WorkerMemory(device="x" * MIB)])
        case "load: no message":
            yield b"\xff" * 100
        case "load: status of another kind":
            yield of_another_kind(context)
        case "load: cancelled":
            yield of_another_kind(context, grpc.StatusCode.CANCELLED)
        case "load: reason of the supervisor":
            yield of_the_supervisor(context)
        case "load: port closed":
            close()
            time.sleep(60)
        case _:
            pass
    yield loaded()


def beat(context: Any) -> Iterator[bytes]:
    work = private.WorkerActivity(name="decode", at_work=True, steps=1)
    match LIE:
        case "beat: no message":
            yield b"\xff" * 100
        case "beat: stops":
            return
        case "beat: of an unknown thread":
            work.name = "\x1b[2J"
        case "beat: a thousand threads":
            yield private.WorkerBeat(activities=[private.WorkerActivity(name="load")] * 1000).SerializeToString()
        case "beat: status of another kind":
            yield of_another_kind(context)
        case "beat: without a pause":
            while context.is_active():
                yield private.WorkerBeat().SerializeToString()
        case _:
            work.steps = 0
    while context.is_active():
        yield private.WorkerBeat(activities=[work]).SerializeToString()
        time.sleep(1)


def answer(context: Any) -> Iterator[bytes]:  # noqa: PLR0912  as above
    yield piece()
    match LIE:
        case "answer: no end is told":
            return
        case "answer: goes on after its end":
            yield piece(finish=True)
            yield piece("more")
        case "answer: stays open after its end":
            yield piece(finish=True)
            time.sleep(60)
        case "answer: a status after its end":
            yield piece(finish=True)
            yield of_another_kind(context)
        case "answer: without end":
            while context.is_active():
                yield piece()
        case "answer: empty messages without end":
            while context.is_active():
                yield b""
        case "answer: token below all":
            yield piece("x", -1)
        case "answer: token beyond all":
            yield piece("x", (1 << 31) - 1)
        case "answer: no message":
            yield b"\xff" * 100
        case "answer: a message of a mebibyte":
            yield piece("x" * MIB)
        case "answer: waits":
            yield b"\x22\x02\x08\x07"
        case "answer: a time that is none":
            message = public.ChatResponse.FromString(piece(finish=True))
            message.finish.usage.generation_s = math.nan
            yield message.SerializeToString()
        case "answer: more of the prompt cached than there is":
            message = public.ChatResponse.FromString(piece(finish=True))
            message.finish.usage.cached_prompt_tokens = 1
            yield message.SerializeToString()
        case "answer: status of another kind":
            yield of_another_kind(context)
        case "answer: cancelled":
            yield of_another_kind(context, grpc.StatusCode.CANCELLED)
        case "answer: reason of the supervisor":
            yield of_the_supervisor(context)
        case "answer: port closed":
            close()
            time.sleep(60)
        case _:
            pass
    yield piece(finish=True)


def embed(request: bytes, context: Any) -> bytes:
    asked = private.WorkerEmbedRequest.FromString(request).request
    vector = public.Embedding(index=0, values=[1.0, 0.0])
    reply = public.EmbedResponse(model=asked.model, dimensions=2, embeddings=[vector])
    match LIE:
        case "embed: of another model":
            reply.model = "another"
        case "embed: too many":
            reply.embeddings.append(vector)
        case "embed: other dimensions":
            reply.dimensions = 3
        case "embed: a reply of 20 mebibytes":
            reply.model = "x" * (20 * MIB)
        case "embed: no message":
            return b"\xff"
        case "embed: status of another kind":
            of_another_kind(context)
        case _:
            pass
    return reply.SerializeToString()


def tokenize(request: bytes, context: Any) -> bytes:
    ids: list[int] = [1]
    match LIE:
        case "tokenize: too many":
            ids = [1] * 100_000
        case "tokenize: token below all":
            ids = [-5]
        case _:
            pass
    return public.TokenizeResponse(token_ids=ids).SerializeToString()


def detokenize(request: bytes, context: Any) -> bytes:
    text = "x"
    match LIE:
        case "detokenize: too much":
            text = "x" * MIB
        case _:
            pass
    return public.DetokenizeResponse(text=text).SerializeToString()


def close() -> None:
    """Closes the listening socket and all connections; the process lives on."""
    threading.Thread(target=os.closerange, args=(3, 1000), daemon=True).start()


def main() -> None:
    if sys.argv[1:] == ["vramd_worker"]:
        import concurrent.futures

        server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
        streams = {"Beat": beat, "Load": load, "Generate": answer, "Chat": answer}
        handlers: dict[str, Any] = {
            name: grpc.unary_stream_rpc_method_handler(lambda request, context, tell=tell: tell(context))
            for name, tell in streams.items()
        }
        unary = {"Embed": embed, "Tokenize": tokenize, "Detokenize": detokenize}
        handlers |= {name: grpc.unary_unary_rpc_method_handler(tell) for name, tell in unary.items()}
        handlers["SetThreads"] = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("vramd.internal.v1.WorkerService", handlers),)
        )
        server.add_insecure_port(str(HELLO["address"]))
        server.start()
        os.write(1, HELLOS.get(LIE, told)() + b"\n")
        while os.read(0, 100):
            pass
    os._exit(1)


main()
