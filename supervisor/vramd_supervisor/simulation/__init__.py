"""The core without a machine: on a virtual clock, or fed with what a supervisor has recorded."""
