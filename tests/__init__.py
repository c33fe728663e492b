"""The proofs. Begin with `rules`, which is what the project is for; each folder says its own.

`framework` is the way of a request in process, `servers` the same on real servers; `durable` and
`celery` are lists that outlive their process; `examples`, `exercises`, `lab` and `walkthrough` are
what people run and read; `benchmarks` is what it costs. `processes.py` starts programs for them.
"""
