"""Checks solutions of the exercises: ours, a reader's (`--solutions MODULE`), and wrong ones.

Each exercise is a module, `test_retrying` and its like, whose docstring says what is asked for;
`rules.py` holds a solution to the rules of the mechanism as well. Read the module of an exercise
first. `test_wrong_solutions` shows that each of them notices the mistakes of `wrong.py`,
`test_combined` that two policies go together, `test_solving` that an exercise may live elsewhere.
"""
