"""Commands that need no running supervisor, as functions: doctor, estimate, and plans for imagined cards."""
