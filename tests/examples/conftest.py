"""Shared by the tests of the examples: a directory for an example's files, and a client.

What may live here: what any example could need. An example's own tests ask what is special to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from minibg.types import ASGIApp
from tests.servers.live import LIMIT, uvicorn_with


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an example keeps its files, in a process that the test starts as well."""
    monkeypatch.setenv("MINIBG_EXAMPLES_DIR", str(tmp_path))
    return tmp_path


@contextmanager
def serving(app: ASGIApp) -> Iterator[httpx.Client]:
    """A client of the example. What its requests left behind has run at the end."""
    serve = uvicorn_with("auto", "auto", ws="websockets-sansio")
    with (
        serve(app) as live,
        httpx.Client(
            base_url=f"http://127.0.0.1:{live.port}", trust_env=False, timeout=LIMIT
        ) as client,
    ):
        yield client
