"""The supervisor: owns the memory of this machine's devices, and one worker process per loaded model."""

import os

# gRPC's C core writes to stderr from its own threads: a pipe that nobody reads would stop them. Read at its import.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
