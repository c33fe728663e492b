"""The language in which the tests of the rules are written; no test lives here.

`words` is the vocabulary: a task, a program, a request, and each rule in a sentence. `model` says
what must be seen of a program. `tasks` makes functions of a program's tasks, `programs` generates
programs, runs them on minibg and compares, `exchange` is a client and a server in one object,
`cancelling` cancels a run while a task works in a thread, `generators` makes a generator function
async, and `logs` keeps log records. `telling` and `reporting` say which rule is broken, and how.
"""

SECONDS = 10
"""How long a test waits for what takes milliseconds, unless it hangs."""
