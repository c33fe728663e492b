"""Which line of a mechanism runs when, and how its list stands: `sys.settrace`, for its files only.

It is entered for a stepped run alone, since each line costs time.

What may live here: which files those are, and what is told of a line.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from minibg.lab.recorder import current_place

OF_MINIBG = ("minibg.background", "minibg.outcomes", "minibg.concurrency", "minibg.responses")
SHOWN: dict[str, tuple[str, ...]] = {
    "minibg.background": (
        "BackgroundTasks.__call__",
        "BackgroundTasks._run_row",
        "BackgroundTasks._react",
    ),
    "minibg.outcomes": ("left_of", "failure_of"),
    "minibg.concurrency": ("_run_in_thread", "_hop", "_Call.make"),
    "minibg.responses": ("respond", "run_in_turn"),
    "starlette.background": ("BackgroundTask.__call__", "BackgroundTasks.__call__"),
}
"""The functions of a module that are shown and stepped through; of others, all that has methods."""


def modules_of(contender: str) -> Sequence[str]:
    """The modules whose source is the contender's mechanism."""
    if contender == "minibg":
        return OF_MINIBG
    if contender in ("starlette", "fastapi"):
        return ("starlette.background",)
    from minibg.lab.contender import VERSIONS  # noqa: PLC0415  # which imports this module

    return (f"minibg.examples.versions.{VERSIONS[contender]}",)


def file_of(module: str) -> Path:
    """Where the source of a module stands."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


class Stepper:
    """A context in which each line of a contender's mechanism is told."""

    def __init__(self, contender: str, tell: Callable[..., None]) -> None:
        self.tell = tell
        self.codes: dict[str, str] = {}
        for module in modules_of(contender):
            import_module(module)
            self.codes[str(file_of(module))] = module
        self.numbers = count()
        self.ended: list[str] = []

    def __enter__(self) -> Self:
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        return self

    def __exit__(
        self,
        cls: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        module = self.codes.get(code.co_filename)
        if module is None or code.co_name == "<module>":
            return None
        shown = SHOWN.get(module)
        if shown is not None and code.co_qualname not in shown:
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        if event == "line":
            place = current_place()
            self.tell(
                "line",
                n=next(self.numbers),
                lane="loop" if place == "event loop" else place,
                file=Path(frame.f_code.co_filename).name,
                line=frame.f_lineno,
                list=self._list(frame),
            )
        return self._line

    def _list(self, frame: FrameType) -> dict[str, list[str]] | None:
        """How the list stands that the frame runs, if it runs one."""
        tasks = getattr(frame.f_locals.get("self"), "tasks", None)
        if tasks is None:
            return None
        waiting = [name_of(getattr(task, "func", task)) for task in list(tasks)]
        return {"waiting": waiting}


def name_of(func: Any) -> str:
    """The name by which a task is known on the page."""
    return str(getattr(func, "__name__", type(func).__name__)).replace("_", " ", 1)
