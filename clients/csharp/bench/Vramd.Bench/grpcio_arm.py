"""The arm `grpcio` of the benchmark: for each line `TOKENS CALLS` on stdin it measures, and prints a line of JSON.

python grpcio_arm.py RUNTIME_DIR MODEL
"""

import json
import statistics
import sys
import time
from pathlib import Path

import grpc
from vramd_common.rendezvous import TOKEN_KEY, Address, RuntimeDir
from vramd_proto.v1 import inference_pb2, supervisor_pb2
from vramd_proto.v1.inference_pb2_grpc import InferenceServiceStub
from vramd_proto.v1.supervisor_pb2_grpc import SupervisorServiceStub


def main() -> None:
    folder, model = RuntimeDir(Path(sys.argv[1])), sys.argv[2]
    found = Address.read(folder.address_file)
    assert found is not None
    metadata = ((TOKEN_KEY, f"Bearer {folder.token_file.read_text('utf-8').strip()}"),)
    with grpc.insecure_channel(found.address) as channel:
        inference, supervisor = InferenceServiceStub(channel), SupervisorServiceStub(channel)
        for line in sys.stdin:
            tokens, calls = map(int, line.split())
            request = inference_pb2.GenerateRequest(
                model=model,
                prompt=[inference_pb2.ContentPart(text="x")],
                limits=inference_pb2.Limits(max_tokens=tokens),
            )
            came = messages = 0
            cpu_s = time.process_time()
            for reply in inference.Generate(request, metadata=metadata):
                came += len(reply.token_ids)
                messages += 1
            cpu_s = time.process_time() - cpu_s
            took_s = []
            for _ in range(calls):
                began_s = time.perf_counter()
                supervisor.GetStatus(supervisor_pb2.GetStatusRequest(), metadata=metadata)
                took_s.append(time.perf_counter() - began_s)
            figures = {
                "cpu_per_token": cpu_s * 1e6 / came,
                "bytes_per_token": None,
                "unary": statistics.median(took_s) * 1e6,
                "tokens_per_message": came / messages,
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
