"""Reports each line of a mechanism when it runs, and the state of its list, by `sys.settrace`.

Only a stepped run is traced, since tracing slows each line, and only the mechanism's code is.

What may live here: the choice of that code, and what is reported of a line.
"""

import sys
import threading
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from inspect import unwrap
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

from minibg.lab.applications import VERSIONS
from minibg.lab.events import Tell, lane

FUNCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "minibg": {
        "minibg.background": (
            "BackgroundTasks.__call__",
            "BackgroundTasks._run_row",
            "BackgroundTasks._react",
        ),
        "minibg.outcomes": ("left_of", "failure_of"),
        "minibg.concurrency": ("_run_in_thread", "_hop", "_Call.make"),
        "minibg.responses": ("respond", "run_in_turn", "_run_in_turn"),
    },
    "starlette": {
        "starlette.background": ("BackgroundTasks.__call__", "BackgroundTask.__call__"),
    },
    "fastapi": {
        "fastapi.background": ("BackgroundTasks.__call__",),
        "starlette.background": ("BackgroundTask.__call__",),
    },
}
"""For each framework, the functions that are shown and stepped through, by the modules that offer
them. An inherited function is defined in another file. A version is shown whole."""


def codes_of(contender: str) -> list[CodeType]:
    """The code of a framework's functions, from the files that define them."""
    functions: list[Any] = [
        reduce(getattr, name.split("."), import_module(module))
        for module, names in FUNCTIONS[contender].items()
        for name in names
    ]
    return [unwrap(function).__code__ for function in functions]


def file_of(version: str) -> Path:
    """The file of a version's source."""
    spec = find_spec(VERSIONS[version])
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def shown_as(file: str | Path) -> str:
    """The name of a file on the page, with its package, since frameworks share names of files."""
    return "/".join(Path(file).parts[-2:])


class Stepper:
    """A context in which each line of a contender's mechanism is reported."""

    def __init__(self, contender: str, tell: Tell) -> None:
        self.tell = tell
        self.before = sys.gettrace(), threading.gettrace()
        self.codes = set(codes_of(contender)) if contender in FUNCTIONS else set()
        self.version = str(file_of(contender)) if contender in VERSIONS else ""

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
        is_of_version = code.co_filename == self.version and code.co_name != "<module>"
        if not is_of_version and code not in self.codes:
            return None
        return self.line

    def line(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        """Report a line of such a frame."""
        if event == "line":
            self.tell(
                "line",
                lane=lane(),
                file=shown_as(frame.f_code.co_filename),
                line=frame.f_lineno,
                function=frame.f_code.co_qualname,
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
