"""The sender of webhooks, when its connection is lost."""

import socket
from concurrent.futures import ThreadPoolExecutor

from minibg.lab.delivery import deliver
from minibg.lab.run import HOST, SECRET, url_of

LIMIT = 30
"""Seconds."""


def test_a_delivery_whose_connection_is_lost_has_no_status() -> None:
    """A delivery whose connection is lost has no status, and the next opens another connection."""
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor() as threads:
        listener.settimeout(LIMIT)
        deliveries = deliver(f"{url_of(listener)}/webhook", b"{}", SECRET, 2)
        first = threads.submit(next, deliveries)
        listener.accept()[0].close()
        assert first.result(LIMIT).status is None
        second = threads.submit(next, deliveries)
        with listener.accept()[0] as connection:
            assert connection.recv(1)
            connection.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            assert second.result(LIMIT).status == 202
        deliveries.close()
