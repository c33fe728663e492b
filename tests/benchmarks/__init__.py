"""Measures what minibg costs beside other frameworks, and holds it to a budget that is counted.

`python -m tests.benchmarks` measures, and nothing here asserts a time: a busy machine would break
that. Read `work.py` (the work of each framework) and `measure.py` (measuring in turns), then
`in_process.py` and `under_uvicorn.py`. The tests ask whether the comparison is fair
(`test_same_work`), whether the measuring does what it says (`test_measure`, `test_command_line`),
and whether a path through minibg executes more than its budget (`test_budget`): that test fails
when minibg gets slower.
"""
