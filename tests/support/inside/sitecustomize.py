"""Python imports this at its start where its folder is in PYTHONPATH: a test can look into the process."""

from support.insight import install

install("supervisor")
