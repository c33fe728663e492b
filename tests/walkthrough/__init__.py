"""Weaves `walkthrough.md` out of the project, and proves that it shows the project as it is.

Read `test_walkthrough` first: the mistakes that the text may not have. `source.py` finds a symbol,
`blocks.py` makes a block of text of it, `weave.py` puts the block in its place; `record.py` runs
the programs whose output the text shows, and `pictures.py` draws. `test_record` has recordings
fail, and `test_a_rule_as_a_diff` adds a rule to a copy of the project, by the patch in the text.
"""
