"""The words in which the rules are told: their names, task programs, and what is seen of those.

What may live here: data. `model.py` says what must be seen of a program; `programs.py` makes and
runs programs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

RULES = {
    "place": "async tasks are awaited on the event loop, sync ones run in a worker thread",
    "capture": "a task keeps references to exactly what it was given when it was added",
    "order": "tasks run one after another, in the order in which they were added",
    "isolate": "a failure goes to `on_error` and no further",
    "grow": "a task that is added during a run is run by that same run",
    "own list": "every request has its own list, of the class that the annotation names",
    "after": "the first task starts when the server has taken the last byte of the response; none "
    "starts if it never does, or if the endpoint raised",
    "release": "everything a request holds is closed before the first task starts: a stream as "
    "soon as its last piece is sent, `yield` dependencies and uploads after that",
    "nothing lost": "each task that was added runs to its end, or is named in a WARNING with the "
    "reason",
    "context": "a task sees the request's context variables as they are when it runs; each sync "
    "task works on a copy of its own",
    "cancel": "a cancelled run starts no further task, and stops the running one if it can",
    "room": "background tasks have threads of their own, and never take those of endpoints",
}
"""Each rule in a sentence, in the order in which they build on one another.

`pytest tests/rules -x` asks in this order, and twice. First come the tests that are marked `basic`:
each compares what its own rule speaks of, and nothing else. So a task that runs in the wrong place
breaks **place** only, though other tests notice it too. Then come all the others.

In its file a property stands last, as the concrete tests before it show what it means. Among the
basic tests of a rule it runs first, as only a property shows the smallest program that breaks it.

**place** is the first: a task that nobody calls has neither arguments nor an order. **capture** and
**order** speak of tasks that run at all. **isolate** and **grow** presuppose that all do, since a
failure is seen by which tasks run. Then come the rules about what a request does around a list,
from inside to outside, and last those that need cancellation or many threads.

Two rules speak twice, `basic(before=...)`: whether two lists share anything (**own list**) is asked
before all, as tests would disturb each other; whether each task of a list starts (**nothing lost**)
before **isolate**.
"""

TOLD = "walkthrough.md#"
"""Where each rule is told of: the heading there has the rule's name."""


def told_in(rule: str) -> str:
    """The section of the walkthrough about a rule, as a link."""
    return TOLD + rule.replace(" ", "-")


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


def labelled(tasks: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each task with its label: its number, after the label of what it belongs to."""
    return ((f"{prefix}{number}", task) for number, task in enumerate(tasks))
