"""Runs the receiver on uvicorn, delivers webhooks to it, and prints what happened.

What may live here: putting the parts together, and what is printed when.
"""

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import uvicorn
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from minibg.lab.delivery import PUSH_EVENT, Answer, deliver_from_outside
from minibg.lab.receiver import MAX_PAYLOAD, create_app
from minibg.lab.recorder import Recording
from minibg.lab.timeline import compare, describe, draw, save, summarize
from minibg.types import ASGIApp

HOST = "127.0.0.1"
SECRET = b"It's a Secret to Everybody"


LEGEND = (
    "What to look for: no task starts before the server has taken the last byte (after), each "
    "starts when the one before has ended (order), async ones run on the event loop and sync ones "
    "in a thread (place). call_downstream is meant to fail, because nobody listens there; the next "
    "tasks run anyway (isolate), unless --fail-fast lets it stop them, and the log names those "
    "(nothing lost)."
)


class UsageError(Exception):
    """An error that the person at the command line can correct, in one line."""


def read_payload(path: Path | None) -> bytes:
    """The content of a JSON file, or a push event.

    Raises:
        UsageError: If the file cannot be read, is not JSON, or is larger than the receiver takes.
    """
    if path is None:
        return PUSH_EVENT
    try:
        payload = path.read_bytes()
        msgspec.json.decode(payload)
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UsageError(f"{path}: not JSON: {exc}") from exc
    if len(payload) > MAX_PAYLOAD:
        raise UsageError(f"{path}: {len(payload)} bytes, and GitHub sends {MAX_PAYLOAD} at most")
    return payload


def listen(port: int) -> socket.socket:
    """A socket that listens on that port of the loopback interface, or on a free one for 0.

    Raises:
        UsageError: If the port is in use, or cannot be bound for another reason.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as exc:
        reason = "in use" if exc.errno == errno.EADDRINUSE else f"not to be had: {exc.strerror}"
        raise UsageError(f"port {port} on {HOST} is {reason}") from exc


def url_of(sock: socket.socket) -> str:
    """The URL of the server that listens on a socket."""
    return "http://{}:{}".format(*sock.getsockname())


class Server(uvicorn.Server):
    """Serves until all deliveries have been made and the last background task has ended."""

    def __init__(
        self, app: ASGIApp, deliveries: Generator[Answer], on_answer: Callable[[Answer], object]
    ) -> None:
        super().__init__(uvicorn.Config(app, ws="none", log_config=None))
        self.deliveries = deliveries
        self.on_answer = on_answer

    async def main_loop(self) -> None:
        """Begin to deliver: uvicorn calls this when it is ready to serve."""
        client = asyncio.create_task(asyncio.to_thread(self._deliver))
        await super().main_loop()
        await client

    def _deliver(self) -> None:
        try:
            with closing(self.deliveries):  # which ends the client
                for answer in self.deliveries:
                    self.on_answer(answer)
                    if self.should_exit:
                        break
        finally:
            self.should_exit = True


def exchange(
    sock: socket.socket,
    directory: Path,
    deliveries: Generator[Answer],
    on_answer: Callable[[Answer], object],
    on_end: Callable[[Recording], object],
) -> None:
    """Serve the receiver on a listening socket while deliveries are made to it.

    Returns when the last background task has ended.

    Args:
        sock: A listening socket, which is closed at the end.
        directory: Where the receiver keeps what it gets.
        deliveries: Makes one delivery for each answer that is taken from it.
        on_answer: Called with each answer, in the client's thread.
        on_end: Called with each recording, on the event loop, when the last of its tasks has ended.
    """
    with socket.socket() as refusing:
        # Bound but not listening: connections are refused, and nobody else can take the port.
        refusing.bind((HOST, 0))
        app = create_app(directory, SECRET, f"{url_of(refusing)}/builds", on_end)
        Server(app, deliveries, on_answer).run(sockets=[sock])


class LogLines(logging.Handler):
    """Counts the lines of the log, each without its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count the line of this record."""
        line = f"{record.levelname} {record.getMessage().strip()}"
        if record.exc_info:
            line += f": {record.exc_info[1]!r}"
        self.lines[line] += 1


def watch(
    sock: socket.socket,
    payload: bytes,
    count: int,
    fail_fast: bool,
    plain: bool,
    picture: Path | None,
) -> None:
    """Deliver the payload, and print the timeline of one delivery or the summary of many.

    Args:
        sock: A listening socket, which is closed at the end.
        payload: The body of each delivery.
        count: How many deliveries to make.
        fail_fast: Whether the first failure stops the other tasks.
        plain: Whether to print without colours and without progress bars.
        picture: The file in which to save the output as well, as SVG or text.
    """
    console = Console(highlight=False, markup=False, force_terminal=False if plain else None)
    directory, log = Path(mkdtemp(prefix="minibg-")), LogLines()
    server_log = logging.FileHandler(directory / "server.log", encoding="utf-8")
    logging.basicConfig(handlers=[log, server_log])
    url = url_of(sock) + ("/webhook/fail-fast" if fail_fast else "/webhook")
    console.print(f"POST {url}, {len(payload)} bytes")
    run = partial(exchange, sock, directory, deliver_from_outside(url, payload, SECRET, count))
    shown = _watch_one(run, console) if count == 1 else _watch_many(run, count, console)
    if picture is not None:
        save(picture, shown)
    for line, times in log.lines.items():
        console.print(line if times == 1 else f"{times} x {line}")
    console.print(f"Kept in {directory}: {', '.join(sorted(f.name for f in directory.iterdir()))}")
    console.print(
        "In the browser, line by line, beside Starlette and FastAPI: python -m minibg.lab"
    )


def _watch_one(run: Callable[..., None], console: Console) -> RenderableType:
    answers: list[Answer] = []
    recordings: list[Recording] = []

    def on_answer(answer: Answer) -> None:
        answers.append(answer)
        print(describe(answer), flush=True)  # rich is slow, and the tasks are being timed

    run(on_answer, recordings.append)
    timeline = draw(recordings[0], answers[0])
    console.print(timeline)
    if recordings[0].tasks:
        console.print(compare(recordings[0], answers[0]))
        console.print(LEGEND)
    return Group(describe(answers[0]), timeline)


def _watch_many(run: Callable[..., None], count: int, console: Console) -> RenderableType:
    answers: list[Answer] = []
    recordings: list[Recording] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console) as progress:
        answered = progress.add_task("answered", total=count)
        done = progress.add_task("tasks done", total=count)

        def on_answer(answer: Answer) -> None:
            answers.append(answer)
            progress.advance(answered)

        def on_end(recording: Recording) -> None:
            recordings.append(recording)
            progress.advance(done)

        run(on_answer, on_end)
    summary = summarize(answers, recordings)
    console.print(summary)
    return summary
