"""Measures what minibg costs beside other frameworks, and holds it to a budget that is counted.

`python -m tests.benchmarks` measures, and nothing here asserts a time: a busy machine would break
that. Read `work.py` (what everyone is given to do) and `measure.py` (in turns), then
`in_process.py` and `under_uvicorn.py`. The tests ask whether the comparison is fair
(`test_same_work`), whether the measuring does what it says (`test_measure`, `test_command_line`),
and whether a path through minibg executes more than its budget (`test_budget`): that is what fails
when minibg gets slower.
"""
