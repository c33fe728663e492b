"""Common misunderstandings of background tasks: one program for each.

`python -m minibg.examples.misunderstandings.NAME` shows how a misunderstanding goes wrong, and then
what to do instead. In each program, the endpoints below `/misunderstood` go wrong.

What may live here: such programs, each to be read alone from top to bottom, and the client that
they share. The docstring of each program shows its output.
"""
