"""Shared by the tests of the framework: an event loop for all that one test asks.

What may live here: fixtures. How an application is asked is told in `asgi.py`.
"""

from collections.abc import Iterator

import pytest

from tests.framework.asgi import one_loop


@pytest.fixture
def on_one_loop(backend: str) -> Iterator[None]:
    """For tests of generated requests, which mean the same to a loop that has served others."""
    with one_loop(backend):
        yield
