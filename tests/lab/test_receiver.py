"""The receiver's tasks: they do real work."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.error import URLError

import pytest

from minibg.lab.delivery import deliver
from minibg.lab.receiver import Delivery, call_downstream, sign
from minibg.lab.run import HOST, SECRET, exchange, listen, url_of


def stored(directory: Path) -> list[tuple[str, str]]:
    """The verdict and the payload of each delivery that was stored."""
    with closing(sqlite3.connect(directory / "deliveries.sqlite")) as connection:
        return connection.execute("SELECT signature, payload FROM deliveries").fetchall()


def test_a_signature_is_the_one_that_github_documents() -> None:
    """The secret, the payload and the value stand in "Validating webhook deliveries"."""
    assert sign(b"It's a Secret to Everybody", b"Hello, World!") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


@pytest.mark.parametrize(
    ("secret", "verdict"), [(SECRET, "valid"), (b"another", "invalid")], ids=["right", "wrong"]
)
def test_a_delivery_is_kept_with_the_verdict_on_its_signature(
    tmp_path: Path, secret: bytes, verdict: str
) -> None:
    sock = listen(0)
    deliveries = deliver(f"{url_of(sock)}/webhook", b'{"zen": "h\xc3\xb6ren"}', secret, 1)
    exchange(sock, tmp_path, deliveries, lambda answer: None, lambda recording: None)
    assert stored(tmp_path) == [(verdict, '{"zen": "hören"}')]
    log = (tmp_path / "deliveries.log").read_text()
    assert log.endswith(f" 17 bytes, signature {verdict}\n")


def test_downstream_is_called_directly_whatever_proxy_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delivery = Delivery("1", b"{}", "")
    with socket.create_server((HOST, 0)) as proxy, socket.socket() as refusing:
        monkeypatch.setenv("http_proxy", url_of(proxy))
        monkeypatch.delenv("no_proxy", raising=False)
        refusing.bind((HOST, 0))
        with pytest.raises(URLError, match="refused"):
            call_downstream(delivery, url_of(refusing))
