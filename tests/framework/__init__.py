"""Proves the framework around the mechanism, in process: every message it takes and sends.

`asgi.py` is the client of all its tests, and holds the application to the protocol. Read along the
way of a request: `test_applications`, `test_routing`, `test_requests`; then the endpoint's
arguments, from `test_dependencies` and `test_depends` to `test_decoding` and `test_uploads`; then
`test_responses`, `test_errors`, and `test_holding` for what is let go in the end. The modules of
`minibg/ext/` follow, `test_monitoring`, `test_slow_tasks`, `test_in_fastapi` and others. Three ask
for more than behaviour: `test_hostile` (input that no honest client sends), `test_secrets` (data
that no log may hold), `test_map` (which file may import which). `tests/servers` has real servers.
"""
