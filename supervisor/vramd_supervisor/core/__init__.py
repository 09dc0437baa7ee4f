"""The pure core: events in, actions out. Nothing in here knows a clock, a process, a file or a network."""
