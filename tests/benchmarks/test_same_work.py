"""Every framework does the same work in every row, so the comparison is fair."""

import asyncio
import json

import pytest

from minibg.types import Message
from tests.benchmarks import work
from tests.benchmarks.apps import MINIBG, PEERS, RAW, make_app, module_of
from tests.benchmarks.in_process import Client, serving
from tests.benchmarks.work import ROWS

LACKING = {
    "Starlette": {"path and query", "path, query and tasks", "nested dependency with yield"},
    "Litestar": {"path, query and tasks"},
    "Falcon": {"path and query", "path, query and tasks", "nested dependency with yield"},
    "BlackSheep": {
        *(name for name, row in ROWS.items() if row.kind == "tasks"),
        "path, query and tasks",
        "nested dependency with yield",
    },
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("peer", PEERS)
def test_each_answers_the_same_and_runs_all_tasks(peer: str, name: str) -> None:
    if module_of(peer) is None:
        pytest.skip(f"{peer} is not installed: pip install -e '.[bench]'")
    row = ROWS[name]
    app = make_app(peer, row)
    assert (app is None) == (name in LACKING.get(peer, ()))
    if app is None:
        return

    async def ask() -> list[Message]:
        async with serving(app):
            work.ran.clear()
            client = Client(app, row)
            messages = await client.ask_once()
            async with asyncio.timeout(10):
                await client.until_all_ran(1)
            return messages

    start, *rest = asyncio.run(ask())
    headers = dict(start["headers"])
    body = b"".join(message.get("body", b"") for message in rest)
    assert start["status"] == 200
    assert headers[b"content-type"].startswith(b"application/json")
    assert int(headers[b"content-length"]) == len(body)
    expected = json.dumps(row.answer, separators=(",", ":")).encode()
    if peer == "Falcon":  # its default encoder writes a blank after each comma and colon
        body = body.replace(b": ", b":").replace(b", ", b",")
    assert body == expected
    assert len(work.ran) == row.runs


def test_minibg_and_raw_asgi_are_in_every_row() -> None:
    for row in ROWS.values():
        assert make_app(MINIBG, row) is not None
        assert make_app(RAW, row) is not None


def test_the_document_has_10_kib() -> None:
    assert 10 * 1024 <= len(ROWS["10 KiB of JSON in and out"].body) < 10.2 * 1024
