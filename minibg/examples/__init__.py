"""Runnable examples: `python -m minibg.examples.NAME` serves one, and says what to try."""
