"""The worker process: holds one model, serves `vramd.internal.v1.WorkerService` to its supervisor, ends with it."""
