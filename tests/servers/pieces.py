"""The content of a stream whose end nobody waits for.

What may live here: content. The tests say who hangs up, and what must be seen then.
"""

import threading
from collections.abc import Generator
from time import monotonic

from tests.servers.live import LIMIT

MEGABYTE = 1024 * 1024


def endless(closed: threading.Event) -> Generator[bytes]:
    """More than a client reads here, but not for ever, so that a failure ends as well.

    It is bounded by time: what a client has left unread, granian takes as fast as it is sent.
    """
    until = monotonic() + 2 * LIMIT  # longer than the test waits
    try:
        yield b"x" * MEGABYTE
        while monotonic() < until:
            yield b"x" * 1000
    finally:
        closed.set()
