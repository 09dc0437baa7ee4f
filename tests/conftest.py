"""For all tests."""

import signal

# A shell that runs its children in the background has them ignore Ctrl-C, and their children after them.
signal.signal(signal.SIGINT, signal.default_int_handler)
