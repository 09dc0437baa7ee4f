"""One process that holds one model, serves `vramd.internal.v1.WorkerService` to its supervisor, and ends with it."""
