"""The public gRPC services: translate and wait, decide nothing."""
