"""Proves on real servers what messages in process cannot show: bytes, connections, processes.

Most of them run on uvicorn with either parser and loop, on hypercorn with either loop, and on
granian. Read `live.py` first, which starts them, then `test_after` (the response has arrived when
the first task runs) and `test_traps` (what FastAPI does there, side by side). `test_disconnect`,
`test_max_body_size`, `test_hostile` and `test_websockets` are about clients, `test_middleware`,
`test_context`, `test_starvation` and `test_monitoring` about what stands around the endpoint.
`test_lifespan` and `test_shutdown` start servers as their users do, and end them;
`test_exactly_once` counts under load.
"""
