"""Proves that every example does what it says, as its reader runs it.

`test_as_printed` runs each line that an example prints for its reader; each example's own module
tests the rest. Some programs show their output in their docstring: `as_shown.py` compares it. The
versions on the way to the mechanism have `test_versions` (each keeps the rules that it names, and
mends the faults of the one before) and `test_trying` (a student's copy of one of them). Read
`test_versions` beside the walkthrough, and any other beside its example.
"""
