"""The rules as a program that is small enough to be seen to be right: no event loop, no thread.

Given a task program, it says which events must be seen, and in which order. It may know nothing of
how minibg is made.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from tests.rules.tasks import SYNC

RULES = {
    "capture": "a task keeps references to exactly what it was given when it was added",
    "place": "async tasks are awaited on the event loop, sync ones run in a worker thread",
    "order": "tasks run one after another, in the order in which they were added",
    "isolate": "a failure goes to `on_error` and no further",
    "grow": "a task that is added during the run runs in the same run",
    "own list": "every request has its own list; an annotation may choose a subclass",
    "after": "the first task starts when the server has taken the last byte of the response",
    "release": "`yield` dependencies, uploads and streams are closed after the response and before "
    "the first task",
    "nothing lost": "each task that was added starts, or is named in a WARNING with the reason",
    "context": "a task sees the request's context variables as they are when it runs; each sync "
    "one has a copy of its own",
    "cancel": "a cancelled run starts no further task, and stops one that runs where it can",
    "room": "background tasks have threads of their own, and starve nobody of theirs",
}
"""Each rule in a sentence, in the order in which they build on one another."""

Event = tuple[Any, ...]
"""What was seen, the label of the task that it was seen of, and the details."""


class _Shown:
    def __repr__(self) -> str:
        """As code, without what is as it is by default."""
        parts = [
            f"{field.name}={value.__name__ if isinstance(value, type) else repr(value)}"
            for field in fields(self)  # type: ignore[arg-type]  # its subclasses are dataclasses
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # in Hypothesis's reports too


@dataclass(frozen=True, repr=False)
class Task(_Shown):
    """A call to be added: of which kind, with what, and what it does when it is made, in turn."""

    kind: str = "a function"
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    sets: int | None = None  # the context variable
    appends: int | None = None  # to the list that all tasks of the program are given
    adds: "tuple[Task, ...]" = ()  # to the list of tasks in which it stands
    cancels: bool = False  # the run
    raises: type[BaseException] | None = None


@dataclass(frozen=True, repr=False)
class Program(_Shown):
    """What stands in a list. A list can stand in a list."""

    tasks: "tuple[Task | Program, ...]" = ()
    # What a failure means: the next runs, it stops the rest, or `on_error` adds one more task.
    policy: Literal["isolate", "fail fast", "report"] = "isolate"
    appended: tuple[int, ...] = ()  # to the list that all tasks are given, before the run


@dataclass(frozen=True, repr=False)
class Held(_Shown):
    """A dependency with `yield`, and what it does when it closes."""

    scope: Literal["request", "function"] = "request"
    adds: tuple[Task, ...] = ()


@dataclass(frozen=True, repr=False)
class Request(_Shown):
    """A request: what its endpoint adds and holds, and what becomes of its response."""

    injected: Program = Program()
    own: Program = Program()  # the response's `background=`
    held: tuple[Held, ...] = ()
    fails: Literal[None, "the endpoint raised", "the response was not sent"] = None


class Cancelled(BaseException):
    """The run was cancelled."""


Waiting = deque[tuple[str, Task | Program]]


def labelled(tasks: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each task with its label: its number, after the label of what it belongs to."""
    return ((f"{prefix}{number}", task) for number, task in enumerate(tasks))


class Model:
    """What must be seen of a program; `events` tells it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.context = 0
        self.given: list[int] = []
        self.cancelled = False

    def run(self, waiting: Waiting, policy: str) -> None:
        """Run a list. What this raises ends the run of whatever it stands in."""
        try:
            while waiting:
                if self.cancelled:  # cancel
                    raise Cancelled
                label, task = waiting.popleft()  # order
                try:
                    self.call(label, task, waiting)
                except Exception as exc:  # isolate
                    self.events.append(("error", label, type(exc).__name__))
                    if policy == "report":
                        waiting.append((f"{label}!", Task()))  # grow
                    if self.cancelled:
                        raise Cancelled from exc
                    if policy == "fail fast":
                        raise
        except BaseException as exc:
            self.lose(waiting, "an earlier failure" if isinstance(exc, Exception) else "cancelled")
            raise

    def call(self, label: str, task: Task | Program, waiting: Waiting) -> None:
        """Make one call; what it adds goes to the list in which it stands."""
        if isinstance(task, Program):
            self.run(deque(labelled(task.tasks, f"{label}.")), task.policy)
            return
        on_loop = task.kind not in SYNC  # place
        arguments = (task.args, task.kwargs, tuple(self.given))  # capture
        place = "loop" if on_loop else "thread"
        self.events.append(("start", label, place, arguments, self.context))
        if task.sets is not None and on_loop:
            self.context = task.sets  # context
        if task.appends is not None:
            self.given.append(task.appends)
        waiting.extend(labelled(task.adds, f"{label}."))  # grow
        if task.cancels:
            self.cancelled = True
            if on_loop:  # at its next await
                raise Cancelled
        if task.raises is not None:
            raise RuntimeError if task.raises is StopIteration else task.raises
        self.events.append(("end", label))

    def lose(self, waiting: Waiting, reason: str) -> None:
        """Name what has not started (**nothing lost**)."""
        for label, task in waiting:
            if isinstance(task, Program):
                self.lose(deque(labelled(task.tasks, f"{label}.")), reason)
            else:
                self.events.append(("not run", label, reason))

    def respond(self, request: Request) -> None:
        """Serve a request: endpoint, response, release, background (**after**, **release**)."""
        injected = deque(labelled(request.injected.tasks, "injected "))
        own = deque(labelled(request.own.tasks, "own "))
        self.given += (*request.injected.appended, *request.own.appended)
        self.events.append(("endpoint",))
        self.close(request, "function", injected)
        if request.fails is None:
            self.events.append(("response",))
        self.close(request, "request", injected)
        if request.fails is not None:
            self.lose(injected, request.fails)
            if request.fails == "the endpoint raised":  # so there never was a response of its own
                self.events.append(("response",))
            else:
                self.lose(own, request.fails)
                raise OSError
            return
        try:
            self.run(injected, request.injected.policy)
        except BaseException as exc:
            self.lose(own, "an earlier failure" if isinstance(exc, Exception) else "cancelled")
            raise
        self.run(own, request.own.policy)

    def close(self, request: Request, scope: str, injected: Waiting) -> None:
        """Close what is held in that scope, the last first."""
        for label, held in reversed(list(labelled(request.held, "held "))):
            if held.scope == scope:
                self.events.append(("closed", label))
                injected.extend(labelled(held.adds, f"{label}."))


def expected(program: Program | Request) -> list[Event]:
    """The events that must be seen of a program, and at the end what is left of it."""
    model = Model()
    try:
        if isinstance(program, Request):
            model.respond(program)
        else:
            model.given += program.appended
            model.run(deque(labelled(program.tasks)), program.policy)
    except Cancelled:
        pass
    except BaseException as exc:  # noqa: BLE001  # it is compared
        model.events.append(("raised", type(exc).__name__))
    if isinstance(program, Program):
        model.events.append(("left", model.context))
    return model.events
