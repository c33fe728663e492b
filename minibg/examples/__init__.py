"""Runnable examples: `python -m minibg.examples.NAME` serves one, or prints what it shows."""
