"""Runs the start script of a worker in a process that can be looked into.

python worker.py TESTS BOOT ROLE
"""

import runpy
import sys

tests, boot = sys.argv[1:3]
sys.path.append(tests)

from support.insight import install  # noqa: E402

install("worker")
del sys.argv[:2]
runpy.run_path(boot, run_name="__main__")
