"""The rules as a program that is small enough to be seen to be right: no event loop, no thread.

Given a task program, it says which events must be seen, and in which order. It may know nothing of
how minibg works.
"""

from collections import deque

from tests.rules.language.tasks import SYNC
from tests.rules.language.words import Event, Program, Request, Task, labelled


class Cancelled(BaseException):
    """The run was cancelled."""


Waiting = deque[tuple[str, Task | Program]]


class Model:
    """What must be seen of a program; `events` tells it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.context = 0
        self.given: list[int] = []
        self.cancelled = False

    def run(self, waiting: Waiting, policy: str) -> None:
        """Run a list. If this raises, the run of the list that contains it ends too."""
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
                except BaseException:
                    if isinstance(task, Task):  # a list has named its own
                        self.events.append(("cut off", label, "cancelled"))  # nothing lost
                    raise
        except BaseException as exc:
            self.lose(waiting, "an earlier failure" if isinstance(exc, Exception) else "cancelled")
            raise

    def call(self, label: str, task: Task | Program, waiting: Waiting) -> None:
        """Make one call. The tasks that it adds go to `waiting`, the list that it came from."""
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
        """Name the tasks that have not started (**nothing lost**)."""
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
