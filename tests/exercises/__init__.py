"""Checks solutions to the exercises: ours, a reader's (`--solutions MODULE`), and wrong ones.

Each exercise is a module, such as `test_retrying`, whose docstring says what is asked for;
`rules.py` holds a solution to the rules of the mechanism as well. Read the module of an exercise
first. `test_wrong_solutions` shows that these modules notice the mistakes in `wrong.py`,
`test_combined` that two policies go together, `test_solving` that an exercise may live elsewhere.
"""
