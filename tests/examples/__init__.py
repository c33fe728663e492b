"""Proves that every example does what it says, as its reader runs it.

`test_as_printed` runs each line that an example prints to be tried; the module of an example asks
the rest. Programs whose docstring shows their output print it: `as_shown.py` compares. The versions
on the way to the mechanism have `test_versions` (each keeps the rules that it names, and mends what
the one before it gets wrong) and `test_trying` (a student's copy of one of them). Read
`test_versions` beside the walkthrough, and any other beside its example.
"""
