"""The visitor's own application: `python -m minibg.lab --app my_app:app`.

A process of its own, `python -m minibg.lab.hosted my_app:app`, serves it on a free port and reports
the recording of each request to the lab.

What may live here: both ends of that report. They know nothing of other contenders.
"""

import logging
import sys
from typing import Any

import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string

from minibg.lab.composition import RequestSpec
from minibg.lab.events import Teller, end_with_parent, standard_output
from minibg.lab.experiment import Broadcast, Event, read_events, started
from minibg.lab.outcome import Outcome
from minibg.lab.recorder import RecordingHandler, RecordingMiddleware

NAME = "app"
"""Its id among the contenders of the page."""
KEPT = 2000
"""How many events are kept for a page that is opened later."""


class Hosted(Broadcast):
    """What the lab knows of the visitor's application.

    Args:
        app: Where it is, in uvicorn's form: `my_app:app`.
    """

    def __init__(self, app: str) -> None:
        super().__init__()
        self.app = app
        self.url = ""
        self.requests: dict[int, _Request] = {}

    async def serve(self) -> None:
        """Run the application until the lab ends, or the application itself."""
        async with started("minibg.lab.hosted", self.app, stderr=None) as process:
            await read_events(process, self._on_event)
        text = f"{self.app} has ended" if self.url else f"{self.app} could not be started"
        self.tell({"event": "error", "contender": NAME, "message": text})
        print(f"minibg.lab: {text}, see above", file=sys.stderr, flush=True)

    def _on_event(self, event: Event) -> None:
        kind, number = event["event"], event.pop("request", 0)
        if kind == "ready":
            self.url = f"http://127.0.0.1:{event['port']}/"
            print(f"{self.app} is at {self.url}: the lab shows what is sent there", flush=True)
            return
        if number not in self.requests:
            self.requests[number] = _Request(number, event["t"])
        for told in self.requests[number].take(event):
            self.tell({"contender": NAME, **told})
        if kind == "over":
            del self.requests[number]
            self.drop_first(len(self.events) - KEPT)


class _Request:
    """One request to the application, whose times are counted from its own beginning."""

    def __init__(self, number: int, began: float) -> None:
        self.number = number
        self.began = began
        self.outcome = Outcome(NAME, RequestSpec())
        self.lanes: set[str] = set()

    def take(self, event: Event) -> list[Event]:
        """The events to report when the process has reported this one."""
        event["t"] = round((event["t"] - self.began) * 1000, 3)
        lane, told = event.get("lane"), []
        if lane is not None and lane not in self.lanes:
            self.lanes.add(lane)
            told.append({"event": "lane", "lane": lane})
        if event["event"] == "over":
            told.append({"event": "outcome", **self.outcome.told()})
        else:
            self.outcome.take(event)
            if event.get("what") == "http.response.start":
                self.outcome.status = int(event["detail"])
            told.append(event)
        return [{**one, "run": self.number} for one in told]


class Server(uvicorn.Server):
    """Serves the application, and reports its port when it is ready."""

    def __init__(self, app: Any) -> None:
        self.pipe = standard_output()
        teller = Teller(self.pipe.tell)
        logging.getLogger().addHandler(RecordingHandler())
        recorded = RecordingMiddleware(
            app,
            lambda recording: self.pipe.tell("over", request=recording.number),
            teller,
            records_lists=True,
        )
        super().__init__(uvicorn.Config(recorded, host="127.0.0.1", port=0, log_level="warning"))

    async def startup(self, sockets: Any = None) -> None:
        """Start as uvicorn does, and report the port."""
        await super().startup(sockets)
        self.pipe.tell("ready", port=self.servers[0].sockets[0].getsockname()[1])


def main() -> None:
    """Serve the application named on the command line."""
    end_with_parent()
    sys.path.insert(0, ".")
    try:
        app = import_from_string(sys.argv[1])
    except ImportFromStringError as exc:
        sys.exit(str(exc))
    Server(app).run()


if __name__ == "__main__":
    main()
