"""`max_body_size` on a real server: a body that is too large is refused before it has come.

What may live here: clients that announce or send more than is taken.
"""

import pytest

from minibg import MiniBG, Request
from tests.servers.live import Connection, Server

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture
def app() -> MiniBG:
    """Takes bodies of at most ten bytes, and answers with their length."""
    app = MiniBG(max_body_size=10)

    @app.post("/")
    async def endpoint(request: Request) -> int:
        return len(await request.body())

    return app


def assert_refused(connection: Connection) -> None:
    answer = connection.read()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert connection.is_at_its_end()


def test_a_body_that_fills_the_limit_is_taken(server: Server, app: MiniBG) -> None:
    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + b"content-length: 10\r\n\r\n0123456789")
        assert connection.read().body == b"10"


def test_a_length_beyond_the_limit_is_refused_before_any_of_the_body(
    server: Server, app: MiniBG
) -> None:
    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + b"content-length: 11\r\n\r\n")
        assert_refused(connection)


def test_a_chunked_body_is_refused_when_it_exceeds_the_limit_and_not_at_its_end(
    server: Server, app: MiniBG
) -> None:
    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(2):
            connection.socket.sendall(b"6\r\n012345\r\n")
        assert_refused(connection)
