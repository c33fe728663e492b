"""What background tasks are often taken for, and what they are: one program for each.

`python -m minibg.examples.misunderstandings.NAME` shows how what was misunderstood goes wrong, and
then what to do instead. In all of them, the endpoints below `/misunderstood` do the former.

What may live here: such programs, each to be read alone from top to bottom, and the client that
they share. Each program's output stands in its docstring.
"""
