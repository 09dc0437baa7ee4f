"""For all tests."""

import atexit
import os
import shutil
import signal
import tempfile

# A shell that runs its children in the background has them ignore Ctrl-C, and their children after them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What this user's supervisor has learned is not for tests to use, and what they load is not for it to learn from.
os.environ["VRAMD_STATE_DIR"] = tempfile.mkdtemp(prefix="vramd-tests-")
atexit.register(shutil.rmtree, os.environ["VRAMD_STATE_DIR"], ignore_errors=True)
