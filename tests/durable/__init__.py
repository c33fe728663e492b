"""Proves durable lists: accepted tasks run, even if their process is killed with -9.

Read `test_capture` first (how a task is written down), then `test_rules` (which rules hold as ever)
and `test_nothing_lost`, in which `killing.py` starts a real uvicorn and kills it. `test_processes`
generates histories of processes that share a file, and breaks the journal to see itself fail;
`test_journal` is about the file. `python -m tests.durable` measures the costs.
"""
