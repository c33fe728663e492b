"""One contender: `python -m minibg.lab.contender NAME COMPOSITION [--step]`.

It serves the composed request on a real uvicorn, on a free port of the loopback interface, and
reports on standard output what happens. `experiment.py` starts it, has a client send the request,
and stops it.

What may live here: what such a process does before it serves, and what it reports when.
"""

import argparse
import logging
import threading
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
import uvicorn
from anyio import sleep_forever

from minibg.lab.applications import APPLICATIONS
from minibg.lab.composition import RequestSpec, TaskSpec
from minibg.lab.events import Teller, end_with_parent, standard_output
from minibg.lab.recorder import Recording, RecordingHandler, RecordingMiddleware
from minibg.lab.stepping import Stepper
from minibg.types import ASGIApp, Message

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"host", b"lab")],
    "server": ("127.0.0.1", 0),
    "client": ("127.0.0.1", 0),
}
WARM_UP = RequestSpec((TaskSpec("async", 0), TaskSpec("sync", 0)))
"""A request that no client sends, to warm the contender up."""


async def nobody_reads(message: Message) -> None:
    """The `send` of that request."""


class Contender(uvicorn.Server):
    """A server that reports its port when it is ready, and from then on what happens."""

    def __init__(self, name: str, app: ASGIApp) -> None:
        self.name = name
        self.is_telling = threading.Event()
        self.pipe = standard_output()
        self.teller = Teller(self.tell)
        logging.basicConfig(handlers=[RecordingHandler(Recording(on_change=self.teller))])
        recorded = RecordingMiddleware(app, self.tell_end, self.teller)
        options: dict[str, Any] = {"log_config": None, "lifespan": "off", "ws": "none"}
        super().__init__(uvicorn.Config(recorded, host="127.0.0.1", port=0, **options))

    def tell(self, event: str, /, **fields: Any) -> None:
        """Report an event, unless it belongs to the warm-up."""
        if self.is_telling.is_set():
            self.pipe.tell(event, **fields)

    def tell_end(self, recording: Recording) -> None:
        """Report that a request is over, its tasks included."""
        recording.note("application has returned")
        self.tell("over", request=recording.number)

    async def warm_up(self) -> None:
        """Serve `WARM_UP`, so that work done only once, such as imports, is not recorded."""
        app = RecordingMiddleware(APPLICATIONS[self.name](WARM_UP), self.tell_end, self.teller)
        receive: Any = sleep_forever  # no application here asks for a body
        with suppress(TypeError):  # versions 0 to 2 await what a sync function returns
            await app(dict(SCOPE), receive, nobody_reads)

    async def startup(self, sockets: Any = None) -> None:
        """Start as uvicorn does, warm up, and report the port."""
        await super().startup(sockets)
        await self.warm_up()
        self.is_telling.set()
        self.tell("ready", port=self.servers[0].sockets[0].getsockname()[1])


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=APPLICATIONS)
    parser.add_argument("composition")
    parser.add_argument("--step", action="store_true")
    options = parser.parse_args()
    end_with_parent()
    spec = msgspec.json.decode(options.composition, type=RequestSpec)
    contender = Contender(options.name, APPLICATIONS[options.name](spec))
    with ExitStack() as stack:
        if options.step:
            stack.enter_context(Stepper(options.name, contender.tell))
        contender.run()


if __name__ == "__main__":
    main()
