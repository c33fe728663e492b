"""Proves the twelve rules: a module for each, and further modules for what they hold together.

Read `language/words.py` and `language/model.py` first, then the rules in the order of `RULES`:
each rests on those above it, so look first at the first that is broken. A module begins with
concrete tests, and ends with the property that programs of any kind must have. Modules that
combine the rules come after them: `test_whole_requests` (requests that overlap),
`test_release_always` (a cancellation at each await), `test_starlette_as_oracle` (the same program
on Starlette). `test_the_rules_bite` and `test_breaks` break the mechanism and ask which rule fails.
"""
