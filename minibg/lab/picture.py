"""Draws a request to any ASGI application into a file, as `python -m minibg` draws its own.

    from minibg.lab.picture import record

    record(app, "/orders", "POST", b"{}", {"content-type": "application/json"}).save("order.svg")

What may live here: recording one request on a real server, and writing it as SVG or text.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Group

from minibg.lab.delivery import Answer, ask_once
from minibg.lab.recorder import Recording, RecordingHandler, RecordingMiddleware
from minibg.lab.run import Server, listen, url_of
from minibg.lab.timeline import describe, draw, save
from minibg.types import ASGIApp


@dataclass
class Recorded:
    """The recording of a request, and the answer that the client got."""

    recording: Recording
    answer: Answer

    def save(self, path: str | Path) -> None:
        """Write the picture as SVG or as text, depending on the suffix of the file's name.

        Raises:
            ValueError: If the name ends neither in `.svg` nor in `.txt`.
        """
        save(Path(path), Group(describe(self.answer), draw(self.recording, self.answer)))


def record(
    app: ASGIApp,
    path: str = "/",
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Recorded:
    """Serve an application on a real server, send it one request, and record what happens.

    Returns when the application has returned, its background tasks included. The tasks in all of
    minibg's lists are recorded. If the application runs another list after its answer, such as
    FastAPI's own, the picture shows that time as not recorded. Call this where no event loop runs.

    Args:
        app: The application. Its lifespan is run.
        path: The path of the request, and its query, if any.
        method: The method of the request.
        body: Its body.
        headers: Its headers.

    Raises:
        RuntimeError: If the application did not start.
    """
    answers: list[Answer] = []
    recordings: list[Recording] = []
    sock = listen(0)

    def ask() -> Generator[Answer]:
        with closing(HTTPConnection(urlsplit(url_of(sock)).netloc, timeout=60)) as connection:
            connection.connect()
            yield ask_once(connection, method, path, body, headers or {})

    recorded = RecordingMiddleware(app, recordings.append, records_lists=True)
    logs = RecordingHandler()
    logging.getLogger().addHandler(logs)
    try:
        Server(recorded, ask(), answers.append).run(sockets=[sock])
    except SystemExit as exc:  # uvicorn exits when a lifespan fails
        raise RuntimeError("the application did not start: its log says why") from exc
    finally:
        sock.close()
        logging.getLogger().removeHandler(logs)
    return Recorded(recordings[0], answers[0])
