"""The mechanism, version by version: each is the one before it and one idea more, and runs.

`python -m minibg.examples.versions.NAME` shows what a version mends, and then what is still wrong
with it, which the next one mends. `diff` between two of them shows the idea. After the last comes
`minibg/background.py`.

What may live here: the mechanism and programs that show it, out of the standard library and anyio.
Each program's output stands in its docstring.
"""
