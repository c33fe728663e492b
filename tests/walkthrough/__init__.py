"""Weaves `walkthrough.md` out of the project, and proves that it shows the project as it is.

Read `test_walkthrough` first: what may not be wrong with the text. `source.py` finds a symbol,
`blocks.py` makes a block of the text of it, `weave.py` puts it in its place; `record.py` runs what
the text shows the output of, and `pictures.py` draws. `test_record` has recordings fail, and
`test_a_rule_as_a_diff` adds a rule to a copy of the project, by the patch that the text shows.
"""
