"""What became of a request and of its tasks on one contender, out of what was told of it.

What may live here: facts. What they mean is said by `differences.py`.
"""

from dataclasses import dataclass, field
from typing import Any

from minibg.lab.composition import RequestSpec

TITLES = {"minibg": "minibg", "starlette": "Starlette", "fastapi": "FastAPI"}


def title(contender: str) -> str:
    """The name of a contender, for people."""
    return TITLES.get(contender, f"version {contender.removeprefix('v')}")


@dataclass
class TaskOutcome:
    """What became of one task."""

    started: bool = False
    how: str = "never started"
    lane: str = ""
    begin: float = 0.0
    end: float = 0.0
    named: str = ""


@dataclass
class Outcome:
    """What became of a request on one contender."""

    contender: str
    spec: RequestSpec
    tasks: dict[str, TaskOutcome] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    status: str | None = None
    answered: float | None = None
    closed_by_server: bool = False
    lost: bool = False
    second: bool = False
    logged: list[str] = field(default_factory=list)
    reaches_server: str = ""
    dependency_closed: float | None = None
    _open: dict[str, str] = field(default_factory=dict)
    _dependency: str | None = None

    def __post_init__(self) -> None:
        self.tasks = {str(n): TaskOutcome() for n, _ in enumerate(self.spec.tasks, 1)}

    @property
    def title(self) -> str:
        """The contender's name, for people."""
        return title(self.contender)

    def take(self, event: dict[str, Any]) -> None:
        """Note what an event says."""
        kind = event["event"]
        if kind == "begin" and event["kind"] == "task":
            task = self.tasks.setdefault(event["task"], TaskOutcome())
            task.started, task.lane, task.begin = True, event["lane"], event["t"]
            self._open[event["id"]] = event["task"]
            self.started.append(event["task"])
        elif kind == "begin" and event["kind"] == "dependency":
            self._dependency = event["id"]
        elif kind == "finish":
            if event["id"] in self._open:
                task = self.tasks[self._open.pop(event["id"])]
                task.how, task.end = event["how"], event["t"] or 0.0
            elif event["id"] == self._dependency:
                self.dependency_closed = event["t"]
        elif kind == "mark":
            self._take_mark(event)
        elif kind == "log":
            self.logged.append(event["message"])
            if "background tasks not run" in event["message"] or "cut off" in event["message"]:
                for name, task in self.tasks.items():
                    if f"task_{name.replace('.', '_')}" in event["message"]:
                        task.named = event["message"].partition(" (")[0]

    def _take_mark(self, event: dict[str, Any]) -> None:
        what = event["what"]
        if what == "answer complete":
            self.status, self.answered = event["detail"], event["t"]
        elif what == "second answer complete":
            self.second = True
        elif what == "connection closed":
            self.closed_by_server = True
        elif what == "connection lost":
            self.lost = True
        elif what == "the server gets":
            self.reaches_server = event["detail"]

    def told(self) -> dict[str, Any]:
        """It, as an event."""
        return {
            "status": int(self.status) if self.status else None,
            "connection": "lost" if self.lost else "closed" if self.closed_by_server else "kept",
            "tasks": [
                {
                    "task": name,
                    "started": task.started,
                    "ended": task.how == "ended",
                    "how": task.how,
                    "lane": task.lane,
                    "named": task.named,
                }
                for name, task in self.tasks.items()
            ],
        }
