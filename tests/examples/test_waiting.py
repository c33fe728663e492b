"""The program `waiting`: it prints what its docstring shows, except for the figures."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from minibg.examples import waiting
from tests.examples.as_shown import printed, shown
from tests.servers.live import LIMIT


def masked(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+ ms", "some ms", line) for line in lines]


def waits_in_a_run() -> tuple[int, int]:
    """How many milliseconds the clients waited: where the mail is sent before the answer, after."""
    before, after = re.findall(r"waited (\d+) ms", "\n".join(printed(waiting)))
    return int(before), int(after)


def test_it_prints_what_its_docstring_shows() -> None:
    # In which order, if a busy machine holds up the client, is another question.
    assert sorted(masked(printed(waiting))) == sorted(masked(shown(waiting)))


def test_who_asks_waits_for_what_is_done_before_the_answer_alone() -> None:
    # A busy machine may hold up a client that has nothing to wait for, but not each time.
    runs = (waits_in_a_run() for _ in range(3))
    assert any(before > 10 * after for before, after in runs)


def test_a_mail_that_the_mail_server_does_not_take_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as client:
        sent = client.submit(waiting.send_mail, listener.getsockname()[1], "welcome ada")
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"550 no such mailbox")
            with pytest.raises(OSError, match="has not accepted it"):
                sent.result(LIMIT)
