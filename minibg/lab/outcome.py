"""The outcome of a request and its tasks on one contender, gathered from its events.

What may live here: facts. `differences.py` says what they mean.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from minibg.lab.applications import title_of
from minibg.lab.composition import RequestSpec


@dataclass
class TaskOutcome:
    """What became of one task; `named` is "not run" or "cut off" if the log says so of it."""

    how: str = "never started"
    lane: str = ""
    begin: float = 0.0
    end: float | None = None
    named: str = ""
    handed_back: bool = False

    @property
    def started(self) -> bool:
        """Whether the task has started."""
        return self.how != "never started"


@dataclass
class Outcome:
    """What became of a request on one contender: of two pipelined requests, the first."""

    contender: str
    spec: RequestSpec
    tasks: list[TaskOutcome] = field(default_factory=list)
    status: int | None = None
    answered: float | None = None
    last_byte: float | None = None
    connection: str = "kept"
    second_status: int | None = None
    reaches_server: str = ""
    server_ended: bool = False
    returned: float | None = None
    dependency_closed: float | None = None
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _open: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        composed = () if self.spec.client == "after 40 others" else self.spec.tasks
        self.tasks = [TaskOutcome() for _ in composed]

    @property
    def title(self) -> str:
        """The contender's name as people read it."""
        return title_of(self.contender)

    def task(self, number: int) -> TaskOutcome:
        """The task of that number: a composed one, or one that was added later."""
        self.tasks += [TaskOutcome() for _ in range(number + 1 - len(self.tasks))]
        return self.tasks[number]

    def take(self, event: dict[str, Any]) -> None:
        """Take the facts from an event."""
        if event.get("t") is not None:
            self.seconds = max(self.seconds, event["t"] / 1000)
        if event.get("request", 1) == 1:
            getattr(self, f"_take_{event['event']}", lambda event: None)(event)

    def _take_begin(self, event: dict[str, Any]) -> None:
        self._open[event["id"]] = event
        if event["kind"] == "task":
            task = self.task(event["task"])
            if task.started:
                task.handed_back = True
            else:
                task.lane, task.begin = event["lane"], event["t"]
            task.how = "never ended"

    def _take_finish(self, event: dict[str, Any]) -> None:
        begun = self._open.pop(event["id"])
        if begun["kind"] == "task":
            task = self.task(begun["task"])
            task.how, task.end = event["how"], event["t"]
        elif begun["kind"] == "dependency":
            self.dependency_closed = event["t"]

    def _take_mark(self, event: dict[str, Any]) -> None:
        what, detail = event["what"], event["detail"]
        if what == "answer complete":
            self.status, self.answered = int(detail), event["t"]
        elif what == "second answer complete":
            self.second_status = int(detail)
        elif what == "connection closed":
            self.connection = "closed"
        elif what == "connection lost":
            self.connection = "lost"
        elif what.startswith("server gets"):
            self.reaches_server = detail
        elif what == "application has returned":
            self.returned = event["t"]
        elif what == "server has ended":
            self.server_ended = True
        elif detail == "last byte taken":
            self.last_byte = event["t"]

    def _take_log(self, event: dict[str, Any]) -> None:
        if event["level"] == "ERROR":
            self.errors.append(event["message"])
        found = re.match(r"background tasks? (not run|cut off) \(.*?\): ", event["message"])
        if found:
            for number in re.findall(r"task_(\d+)", event["message"]):
                self.task(int(number) - 1).named = found[1]

    def failure_is_logged(self, number: int) -> bool:
        """Whether the log has an ERROR about that task's failure."""
        return any(f"task {number + 1} fails" in text for text in self.errors)

    @property
    def said(self) -> str:
        """In one line: the status, what became of each task, and whether the log names it."""
        tasks = ", ".join(t.how + (" and named" if t.named else "") for t in self.tasks)
        return f"{self.status or 'no answer'}: {tasks or 'no task'}"

    def told(self) -> dict[str, Any]:
        """The outcome as the fields of an event."""
        return {
            "status": self.status,
            "connection": self.connection,
            "second_status": self.second_status,
            "server_ended": self.server_ended,
            "seconds": round(self.seconds, 6),
            "said": self.said,
            "tasks": [
                {
                    "task": number,
                    "started": task.started,
                    "ended": task.how == "ended",
                    "how": task.how,
                    "lane": task.lane,
                    "named": task.named,
                }
                for number, task in enumerate(self.tasks)
            ],
        }
