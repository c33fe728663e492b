"""The example `progress`: each way tells the client how far the task has come, until its end."""

import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.error import HTTPError

import anyio
import httpx
import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from minibg.examples.progress import Job, Progress, app, call_back
from tests.examples.conftest import serving
from tests.servers.live import LIMIT

BELOW = 100_000
COMPOSITES = {multiple for n in range(2, 317) for multiple in range(n * n, BELOW, n)}
PRIMES = BELOW - 2 - len(COMPOSITES)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(app) as client:
        yield client


def start(client: httpx.Client, **callback: str) -> int:
    """Have primes counted, and return the number of the job."""
    answer = client.post("/jobs", json={"below": BELOW, **callback})
    progress = msgspec.json.decode(answer.content, type=Progress)
    assert (answer.status_code, progress.checked) == (202, 0)
    return progress.job


def poll(client: httpx.Client, job: int) -> Iterator[bytes]:
    checked = 0
    while checked < BELOW:
        answer = client.get(f"/jobs/{job}")
        checked = answer.json()["checked"]
        yield answer.content


def listen(client: httpx.Client, job: int) -> Iterator[bytes]:
    with client.stream("GET", f"/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield line.removeprefix("data: ").encode()


def converse(client: httpx.Client, job: int) -> Iterator[bytes]:
    url = str(client.base_url).replace("http", "ws", 1)
    with connect(f"{url}/jobs/{job}/websocket", proxy=None) as websocket:
        for message in websocket:
            assert isinstance(message, str)
            yield message.encode()
        assert websocket.close_code == 1000


Way = Callable[[httpx.Client, int], Iterator[bytes]]
WAYS: list[Way] = [poll, listen, converse]


@pytest.mark.parametrize("way", WAYS)
def test_the_client_sees_the_task_advance_to_its_end(client: httpx.Client, way: Way) -> None:
    job = start(client)
    seen = [msgspec.json.decode(message, type=Progress) for message in way(client, job)]
    assert seen[-1] == Progress(job, BELOW, BELOW, PRIMES)
    assert len({progress.checked for progress in seen}) > 2
    assert seen == sorted(seen, key=lambda progress: progress.checked)


@pytest.fixture(scope="module")
def ended(client: httpx.Client) -> tuple[int, bytes]:
    """A job that has come to its end, and the last that was told of it."""
    job = start(client)
    *_, end = listen(client, job)
    return job, end


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_comes_after_the_end_is_told_at_once(
    client: httpx.Client, ended: tuple[int, bytes], way: Way
) -> None:
    job, end = ended
    assert list(way(client, job)) == [end]


def test_a_client_that_is_slow_misses_some_but_not_the_end() -> None:
    async def main() -> list[Progress]:
        job = Job(Progress(1, 100))
        seen = []
        async for progress in job.follow():
            seen.append(progress)
            for checked in range(progress.checked + 1, min(progress.checked + 60, 100) + 1):
                job.report(Progress(1, 100, checked))
        return seen

    assert [progress.checked for progress in anyio.run(main)] == [0, 60, 100]


class Receiver(HTTPServer):
    """The client's own server. It takes one request and is done."""

    timeout = 3 * LIMIT  # the job comes first, and takes its time where coverage is measured
    received = b""


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.received = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_the_client_is_called_at_the_end(client: httpx.Client) -> None:
    with Receiver(("127.0.0.1", 0), Handler) as receiver:
        job = start(client, callback=f"http://127.0.0.1:{receiver.server_port}/hook")
        receiver.handle_request()
    assert msgspec.json.decode(receiver.received, type=Progress) == Progress(
        job, BELOW, BELOW, PRIMES
    )


def test_what_comes_in_by_callback_is_shown(client: httpx.Client) -> None:
    progress = Progress(1_000_000, BELOW, BELOW, PRIMES)
    call_back(Job(progress), f"{client.base_url}/inbox")
    assert msgspec.to_builtins(progress) in client.get("/inbox").json()


def test_a_callback_that_is_refused_is_a_failure(client: httpx.Client) -> None:
    with pytest.raises(HTTPError, match="404") as failure:
        call_back(Job(Progress(1, 100)), f"{client.base_url}/nowhere")
    failure.value.close()


@pytest.mark.parametrize(
    "callback",
    [
        "http://192.0.2.1:80/",
        "http://127.0.0.1:80@192.0.2.1/",
        "https://127.0.0.1:80/",
        "file://127.0.0.1:80/etc/passwd",
        "x http://127.0.0.1:80/",
    ],
)
def test_only_this_machine_is_called(client: httpx.Client, callback: str) -> None:
    answer = client.post("/jobs", json={"below": BELOW, "callback": callback})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "callback"])


@pytest.mark.parametrize("below", [99, 2_000_001])
def test_too_little_and_too_much_are_not_counted(client: httpx.Client, below: int) -> None:
    assert client.post("/jobs", json={"below": below}).status_code == 422


def test_a_job_that_does_not_exist_cannot_be_followed(client: httpx.Client) -> None:
    assert client.get("/jobs/1000000").status_code == 404
    assert client.get("/jobs/1000000/events").status_code == 404
    with pytest.raises(InvalidStatus, match="404"):
        list(converse(client, 1_000_000))


def test_the_page_has_a_row_for_each_way(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    rows = re.findall(r'<tr id="(\w+)">', page.text)
    assert rows == ["polling", "events", "websocket", "webhook"]
    assert re.findall(r"^  (?:async )?(\w+)\(job, show\) \{", page.text, re.MULTILINE) == rows
