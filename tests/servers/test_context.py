"""**context**: which request's context variables a pipelined request sees.

What may live here: one fact for each server, and the option that changes it.
"""

from contextvars import ContextVar

import pytest

from minibg import MiniBG
from tests.servers.live import SERVERS, Server, on_each, uvicorn_with

user: ContextVar[str] = ContextVar("user", default="nobody")
app = MiniBG()


@app.get("/sign-in")
async def sign_in() -> None:
    user.set("ada")


@app.get("/who")
async def who() -> str:
    return user.get()


def seen_by_the_next_request(server: Server) -> bytes:
    with server(app) as live, live.connect() as connection:
        connection.ask("/sign-in", "/who")
        assert connection.read().status == 200
        return bytes(connection.read().body)


@on_each(SERVERS, "seen", uvicorn=b'"ada"', hypercorn=b'"nobody"', granian=b'"nobody"')
def test_a_pipelined_request_shares_its_context_on_uvicorn_alone(
    server: Server, seen: bytes
) -> None:
    """On uvicorn alone a pipelined request sees what the one before it has set."""
    assert seen_by_the_next_request(server) == seen


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_uvicorns_reset_contextvars_separates_the_requests(http: str) -> None:
    """uvicorn's `reset_contextvars` gives each request a context of its own."""
    server = uvicorn_with(http, "asyncio", reset_contextvars=True)
    assert seen_by_the_next_request(server) == b'"nobody"'
