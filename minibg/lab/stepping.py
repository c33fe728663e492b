"""Reports each line of a mechanism when it runs, and the state of its list, by `sys.settrace`.

Only a stepped run is traced, since tracing slows each line, and only the mechanism's files are.

What may live here: the choice of those files, and what is reported of a line.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from minibg.lab.applications import VERSIONS
from minibg.lab.events import Tell, lane

OF_MINIBG = ("minibg.background", "minibg.outcomes", "minibg.concurrency", "minibg.responses")
SHOWN: dict[str, tuple[str, ...]] = {
    "minibg.background": (
        "BackgroundTasks.__call__",
        "BackgroundTasks._run_row",
        "BackgroundTasks._react",
    ),
    "minibg.outcomes": ("left_of", "failure_of"),
    "minibg.concurrency": ("_run_in_thread", "_hop", "_Call.make"),
    "minibg.responses": ("respond", "run_in_turn", "_run_in_turn"),
    "starlette.background": ("BackgroundTask.__call__", "BackgroundTasks.__call__"),
}
"""The functions of a module that are shown and stepped through. Other modules are shown whole."""


def modules_of(contender: str) -> Sequence[str]:
    """The modules whose source is the contender's mechanism."""
    if contender == "minibg":
        return OF_MINIBG
    if contender in ("starlette", "fastapi"):
        return ("starlette.background",)
    return (VERSIONS[contender],)


def file_of(module: str) -> Path:
    """The source file of a module."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


class Stepper:
    """A context in which each line of a contender's mechanism is reported."""

    def __init__(self, contender: str, tell: Tell) -> None:
        self.tell = tell
        self.before = sys.gettrace(), threading.gettrace()
        self.codes: dict[str, str] = {}
        for module in modules_of(contender):
            import_module(module)
            self.codes[str(file_of(module))] = module

    def __enter__(self) -> Self:
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        return self

    def __exit__(
        self,
        cls: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        here, in_threads = self.before
        sys.settrace(here)
        threading.settrace(in_threads)

    def trace(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        """Trace the lines of a frame, if its function is one of the mechanism's."""
        code = frame.f_code
        module = self.codes.get(code.co_filename)
        if module is None or code.co_name == "<module>":
            return None
        shown = SHOWN.get(module)
        if shown is not None and code.co_qualname not in shown:
            return None
        return self.line

    def line(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        """Report a line of such a frame."""
        if event == "line":
            self.tell(
                "line",
                lane=lane(),
                file=Path(frame.f_code.co_filename).name,
                line=frame.f_lineno,
                list=self._list(frame),
            )
        return self.line

    @staticmethod
    def _list(frame: FrameType) -> list[str] | None:
        """The tasks in the list, or the lists, that a frame runs; None if it runs none."""
        names = frame.f_locals
        lists = names.get("lists") or names.get("injected") or [names.get("self")]
        found = [getattr(one, "tasks", None) for one in lists]
        if found == [None]:
            return None
        return [name_of(task) for tasks in found for task in [*(tasks or ())]]


def name_of(task: Any) -> str:
    """The name of a task on the page, made from the name of its function."""
    func = getattr(task, "func", task)
    return str(getattr(func, "__name__", type(func).__name__)).replace("_", " ")
