"""The servers that every test of this directory runs on."""

import pytest

from tests.servers.live import SERVERS, Server


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """A real server: `with server(app) as live` serves the application on a free port."""
    return SERVERS[request.param]
