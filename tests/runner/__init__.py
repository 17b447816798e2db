"""The parts of tests/run.py: which files run together, the processes that run them, and what they report."""
