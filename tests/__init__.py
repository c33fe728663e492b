"""The proofs. Begin with `rules`, the purpose of the project; each folder says what it proves.

`framework` follows a request in process, `servers` does so on real servers; `durable` and `celery`
are about lists that outlive their process; `examples`, `exercises`, `lab` and `walkthrough` are
about what people run and read; `benchmarks` measures the costs. `processes.py` starts programs.
"""
