"""The private contract between supervisor and worker (proto package vramd.internal.v1)."""
