"""Task programs as inputs: they are generated, run on minibg, and compared with the model.

What may live here: making programs, running them, and showing what was seen of them. `model.py`
says what must be seen.
"""

import logging
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import Parameter, Signature
from itertools import starmap, zip_longest
from typing import Any

import anyio
from hypothesis import strategies as st

from minibg import (
    BackgroundTask,
    BackgroundTasks,
    Depends,
    FailFastTasks,
    HTTPException,
    MiniBG,
    Response,
)
from tests.rules.language import SECONDS
from tests.rules.language.exchange import Exchange
from tests.rules.language.logs import logged
from tests.rules.language.model import expected
from tests.rules.language.reporting import told, tried
from tests.rules.language.tasks import ASYNC, HANDED_BACK, KINDS, SYNC, any_kind, make
from tests.rules.language.telling import broken
from tests.rules.language.words import Event, Held, Program, Request, Task, labelled

AnyProgram = Program | Request


class UnprintableError(Exception):
    """A failure whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("not even its text can be had")


class SeveralErrors(ExceptionGroup[Exception]):  # what it is called for
    """A failure that is a group of failures."""

    def __new__(cls) -> "SeveralErrors":
        return super().__new__(cls, "several", [ValueError(), KeyError("x")])


class Stop(BaseException):
    """What is no `Exception`, as `KeyboardInterrupt` is, without its effect on a test run."""


FAILURES: list[type[BaseException]] = [
    ValueError,
    OSError,
    UnprintableError,
    SeveralErrors,
    StopIteration,
]

values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.builds(object)
names = st.sampled_from(["func", "self", "args", "kwargs", "task"]) | st.text(max_size=3)
arguments = {
    "args": st.lists(values, max_size=2).map(tuple),
    "kwargs": st.dictionaries(names, values, max_size=2).map(lambda given: tuple(given.items())),
    "appends": st.none() | st.integers(0, 9),
}
failures = {"raises": st.none() | st.sampled_from([*FAILURES, Stop])}
additions = {"adds": st.lists(st.builds(Task, kind=any_kind()), max_size=2).map(tuple)}
context = {"sets": st.none() | st.integers(1, 9)}
cancellation = {"cancels": st.sampled_from([False, False, True])}
everything = arguments | failures | additions | context | cancellation

policies = st.sampled_from(["isolate", "fail fast", "report"])


def programs(
    features: dict[str, st.SearchStrategy[Any]],
    policies: st.SearchStrategy[Any] = policies,
    among: dict[str, Any] = KINDS,
    *,
    nested: bool = True,
) -> st.SearchStrategy[Program]:
    """Programs whose tasks are of these kinds and have these features; lists may stand in lists."""
    task = st.builds(Task, kind=any_kind(among), **features)
    inner = st.builds(Program, st.lists(task, max_size=3).map(tuple), policies)
    tasks = st.lists(task | inner if nested else task, max_size=5).map(tuple)
    appended = st.lists(st.integers(0, 9), max_size=2).map(tuple)
    return st.builds(Program, tasks, policies, appended if "appends" in features else st.just(()))


def requests(
    features: dict[str, st.SearchStrategy[Any]], most_held: int = 3
) -> st.SearchStrategy[Request]:
    """Requests that leave such programs behind, and hold something meanwhile."""
    some = programs(features)
    held = st.builds(Held, st.sampled_from(["request", "function"]), **additions)
    fails = st.sampled_from([None, None, "the endpoint raised", "the response was not sent"])
    return st.builds(Request, some, some, st.lists(held, max_size=most_held).map(tuple), fails)


plain: dict[str, Any] = {}
isolating = st.just("isolate")

PROGRAMS: dict[str, st.SearchStrategy[Any]] = {
    "capture": programs(arguments, isolating, nested=False),
    # In each, the tasks have one place, so that a wrong order is no wrong place.
    "place": st.sampled_from([SYNC, ASYNC, HANDED_BACK]).flatmap(
        lambda among: programs(plain, isolating, among, nested=False)
    ),
    "order": programs(plain, isolating, nested=False),
    "isolate": programs(failures, st.sampled_from(["isolate", "fail fast"]), nested=False),
    "grow": programs(additions | {"raises": st.sampled_from([None, ValueError])}, nested=False),
    "own list": st.tuples(st.lists(any_kind(), max_size=3), st.integers(2, 5)),
    "after": requests(plain, most_held=0),
    "release": requests(plain),
    "nothing lost": programs(everything) | requests(everything),
    "context": programs(context, isolating, nested=False),
    "cancel": programs(cancellation),
    "room": st.integers(1, 10),
}
"""For each rule, programs that have what it speaks of, and little else.

So lists stand in lists only where a rule asks for more than one list; `test_model.py` asks for all.

For **own list** those are the tasks of a request and how many such requests overlap; for **room**,
how many threads there are for background tasks.
"""


def _told(*what: str) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [event[:2] for event in events if event[0] in what]


def _failures(events: list[Event]) -> list[Event]:
    return [e if e[0] == "error" else e[:2] for e in events if e[0] in ("start", "error", "raised")]


def _picked(*places: int) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [tuple(e[i] for i in places) for e in events if e[0] == "start"]


def _called_with(events: list[Event]) -> list[Event]:
    """What each task was called with, but not what others had put into an object by then."""
    return sorted(
        (label, args, kwargs, "a copy" if shared[:1] == ("a copy",) else "the very list")
        for label, (args, kwargs, shared) in _picked(1, 3)(events)
    ) + [event for event in events if event[0] == "refused"]


def _moments(*what: str) -> Callable[[list[Event]], list[Event]]:
    """When it was that tasks started, whichever they were, and when what else happened."""

    def view(events: list[Event]) -> list[Event]:
        told = [event[:1] if event[0] == "start" else event[:2] for event in events]
        told = [event for event in told if event[0] in ("start", *what)]
        return [
            event for event, before in zip(told, [None, *told], strict=False) if event != before
        ]

    return view


NAMED = ("not run", "cut off")


def _fates(events: list[Event]) -> list[Event]:
    """What became of each task: it is named with the reason, or has ended, or neither."""
    named = [("named", *event[1:3]) for event in events if event[0] in NAMED]
    ended = [("ended", event[1]) for event in events if event[0] in ("end", "error")]
    known = {event[1] for event in named + ended}
    return named + ended + [("lost", e[1]) for e in _told("start")(events) if e[1] not in known]


VIEWS: dict[str, Callable[[list[Event]], list[Event]]] = {
    "place": lambda events: sorted(_picked(1, 2)(events)),
    "capture": _called_with,
    "order": _told("start", "end"),
    "isolate": _failures,
    "grow": _told("start"),
    "after": _moments("endpoint", "response"),
    "release": _moments("response", "closed"),
    "nothing lost": lambda events: sorted(_fates(events)),
    "context": lambda events: sorted(_picked(1, 4)(events)) + _told("left")(events),
    "cancel": _told("start", "end"),
}
"""For each rule, what of the events it speaks of."""


def _in_both(wanted: list[Event], seen: list[Event]) -> tuple[list[Event], list[Event]]:
    """Of what tasks do, only that which they did as well as should have done."""
    return _known_to(wanted, seen), _known_to(seen, wanted)


def _known_to(events: list[Event], others: list[Event]) -> list[Event]:
    known = {event[:2] for event in others}
    return [e for e in events if e[0] not in ("start", "end") or e[:2] in known]


def _in_place(wanted: list[Event], seen: list[Event]) -> tuple[list[Event], list[Event]]:
    """As `_in_both`, but a task that nobody calls while a later one runs is in no place.

    How often a task runs, **order** asks.
    """
    starts = [event for event in wanted if event[0] == "start"]
    started = {event[1] for event in seen if event[0] == "start"}
    last = max((n for n, e in enumerate(starts) if e[1] in started), default=len(starts))
    places = _known_to(seen, wanted)
    return starts[: last + 1], [e for n, e in enumerate(places) if e not in places[:n]]


def _accounted_for(wanted: list[Event], seen: list[Event]) -> tuple[list[Event], list[Event]]:
    """Leave out tasks that were to be stopped and have ended, and those that only these add."""
    stopped = {event[1] for event in wanted if event[0] in NAMED}
    ended = {event[1] for event in seen if event[0] in ("end", "error")} & stopped
    unknown = {event[1] for event in seen if event[1:2]} - {e[1] for e in wanted if e[1:2]}
    of_now = [event for event in seen if event[2:3] != ("no run took them",)]  # a list of before
    return _without(ended, wanted), _without(ended | unknown, of_now)


def _without(labels: set[Any], events: list[Event]) -> list[Event]:
    return [event for event in events if event[1:2] == () or event[1] not in labels]


Restricted = Callable[[list[Event], list[Event]], tuple[list[Event], list[Event]]]

COMPARED: dict[str, Restricted] = {
    "place": _in_place,
    "capture": _in_both,
    "order": _in_both,
    "context": _in_both,
    "nothing lost": _accounted_for,
    "after": lambda wanted, seen: (_known_to(wanted, seen), seen),
    "release": lambda wanted, seen: (_known_to(wanted, seen), seen),
}
"""Rules that do not compare all events that they look at. Most do not ask whether a task runs at
all, which **nothing lost** and **isolate** do. That does not ask whether it was stopped.
"""

REASONS = ("an earlier failure", "cancelled", "the endpoint raised", "the response was not sent")

MISSING = object()

variable: ContextVar[int] = ContextVar("variable")


class Player:
    """Runs one program on minibg; `events` tells what was seen, in the model's words."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.given: list[int] = []
        self.labels: dict[int, str] = {}

    async def play(self, program: AnyProgram) -> list[Event]:
        """Run the program in this task."""
        tried[:] = [program]
        self.loop_thread, self.task = threading.get_ident(), anyio.get_current_task().id
        variable.set(0)
        with self._log_read(), anyio.CancelScope() as self.scope:
            try:
                if isinstance(program, Request):
                    await self.serve(program)
                else:
                    tasks = self.list_of(program)
                    self.given += program.appended
                    await tasks()
            except (Exception, Stop) as exc:  # noqa: BLE001  # it is compared
                self.events.append(("raised", type(exc).__name__))
        if isinstance(program, Program):
            self.events.append(("left", variable.get()))
        return self.events

    def list_of(self, program: Program, prefix: str = "") -> BackgroundTasks:
        """The list for a program."""
        tasks = self.class_of(program.policy)()
        self.add_all(tasks, program.tasks, prefix)
        return tasks

    def class_of(self, policy: str) -> type[BackgroundTasks]:
        """A class of lists that has this policy, and notes what it is told of failures."""
        base = FailFastTasks if policy == "fail fast" else BackgroundTasks

        class Noting(base):  # type: ignore[misc, valid-type]  # which, is said by the program
            def on_error(tasks, task: BackgroundTask, exc: Exception) -> None:  # noqa: N805  # closure
                label = self.labels[id(task.func)]
                self.events.append(("error", label, type(exc).__name__))
                # If a broken rule makes a report fail, its own would fail too, and so on.
                if policy == "report" and not label.endswith("!"):
                    self.add(tasks, f"{label}!", Task())
                super().on_error(task, exc)

        return Noting

    def add_all(self, tasks: BackgroundTasks, added: Any, prefix: str) -> None:
        for label, task in labelled(added, prefix):
            self.add(tasks, label, task)

    def add(self, tasks: BackgroundTasks, label: str, task: Task | Program) -> None:
        """Add a task, or a list, to a list."""
        if isinstance(task, Program):
            func: Any = self.list_of(task, f"{label}.")
            tasks.add_task(func)
        else:
            func = make(task.kind, self.body(tasks, label, task))
            given = [*task.args, self.given]
            try:
                tasks.add_task(func, *given, **dict(task.kwargs))
            except Exception as exc:
                self.events.append(("refused", label, type(exc).__name__))
                raise
        self.labels[id(func)] = label

    def body(self, tasks: BackgroundTasks, label: str, task: Task) -> Callable[..., Any]:
        """What a task does: it notes what it sees, then does what the program says."""

        def body(*args: Any, **kwargs: Any) -> Iterator[None]:
            *positional, given = args or (MISSING,)
            seen = (
                tuple(starmap(_same, zip_longest(positional, task.args))),
                tuple(
                    (name, _same(kwargs.pop(name, MISSING), value)) for name, value in task.kwargs
                )
                + tuple(kwargs.items()),
                tuple(self.given) if given is self.given else ("a copy",),
            )
            self.events.append(("start", label, self.place(), seen, variable.get(None)))
            if task.sets is not None:
                variable.set(task.sets)
            if task.appends is not None:
                self.given.append(task.appends)
            self.add_all(tasks, task.adds, f"{label}.")
            if task.cancels:
                self.cancel()
            yield
            if task.raises is not None:
                raise task.raises
            self.events.append(("end", label))

        body.__qualname__ = f"<{label}>"  # by which the log speaks of the task
        return body

    def place(self) -> str:
        """Where this is called."""
        if threading.get_ident() != self.loop_thread:
            return "thread"
        return "loop" if anyio.get_current_task().id == self.task else "another task of the loop"

    def cancel(self) -> None:
        if self.place() == "thread":
            anyio.from_thread.run_sync(self.scope.cancel)
        else:
            self.scope.cancel()

    async def serve(self, request: Request) -> None:
        """Have an application serve the request."""

        def holding(label: str, held: Held) -> Callable[..., Any]:
            async def dependency(tasks: Any) -> AsyncGenerator[None]:
                try:
                    yield
                finally:
                    self.events.append(("closed", label))
                    self.add_all(tasks, held.adds, f"{label}.")

            dependency.__annotations__["tasks"] = injected_class
            return dependency

        async def endpoint(tasks: BackgroundTasks, **held: None) -> Response:
            self.add_all(tasks, request.injected.tasks, "injected ")
            self.given += (*request.injected.appended, *request.own.appended)
            self.events.append(("endpoint",))
            if request.fails == "the endpoint raised":
                raise HTTPException(418)
            return Response(background=self.list_of(request.own, "own "))

        injected_class = self.class_of(request.injected.policy)
        parameters = [Parameter("tasks", Parameter.KEYWORD_ONLY, annotation=injected_class)]
        for number, held in enumerate(request.held):
            depends = Depends(holding(f"held {number}", held), scope=held.scope)
            name = f"held_{number}"
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=depends))
        endpoint.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # as many as are held
        app = MiniBG()
        app.get("/")(endpoint)
        gone = request.fails == "the response was not sent"
        await Exchange(events=_Events(self.events), client_gone=gone)(app)

    @contextmanager
    def _log_read(self) -> Iterator[None]:
        """Take what is logged about tasks that did not run to their end as an event for each."""
        logger = logging.getLogger("minibg.background")
        logger.propagate = False
        try:
            with logged(hear=self._named):
                yield
        finally:
            logger.propagate = True

    def _named(self, record: logging.LogRecord) -> None:
        named = r"background tasks? (not run|cut off) \((.*?)\): (.*)"
        found = re.fullmatch(named, record.getMessage())
        if found is None:
            return
        what, why, names = found.groups()
        reason = next((known for known in REASONS if why.startswith(known)), why)
        for label in re.findall("<(.*?)>", names):
            self.events.append((what, label, reason))


class _Events(list[Any]):
    """What an exchange notes, in the model's words."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    def append(self, event: str) -> None:
        self.events.append((event,))


def _same(seen: Any, given: Any) -> Any:
    if seen is given:
        return seen
    return ("nothing",) if seen is MISSING else ("a copy of", seen)


def check(rule: str, backend: str, program: AnyProgram) -> None:
    """Run the program, and compare what the rule speaks of with what the model expects.

    Each event has a label: the task that it is about. A start tells where the task runs, what it is
    called with, and what it sees of the context variable.

    >>> program = Program((Task(raises=ValueError, sets=1), Task("a coroutine function", sets=2)))
    >>> print(*expected(program), sep="\\n")
    ('start', '0', 'thread', ((), (), ()), 0)
    ('error', '0', 'ValueError')
    ('start', '1', 'loop', ((), (), ()), 0)
    ('end', '1')
    ('left', 2)
    >>> VIEWS["place"](expected(program))
    [('0', 'thread'), ('1', 'loop')]

    Raises:
        AssertionError: If they differ; it names the rule, and shows the program and both.
    """
    __tracebackhide__ = True
    seen = anyio.run(_played_in_time, program, backend=backend)
    compare([rule], program, seen)


async def _played_in_time(program: AnyProgram) -> list[Event]:
    player = Player()
    with anyio.move_on_after(SECONDS) as limit:
        await player.play(program)
    if limit.cancelled_caught:
        player.events.append(("hangs", f"for more than {SECONDS} seconds"))
    return player.events


def compare(rules: Iterable[str], program: AnyProgram, seen: list[Event]) -> None:
    """Compare what was seen of a program with what the model expects, as far as the rules say.

    Raises:
        AssertionError: If they differ; it names the first rule by which they do.
    """
    __tracebackhide__ = True
    wanted = expected(program)
    if seen != wanted:  # else they are the same in every view
        for rule in rules:
            restricted = COMPARED.get(rule)
            of_wanted, of_seen = restricted(wanted, seen) if restricted else (wanted, seen)
            hangs = [event for event in seen if event[0] == "hangs"]
            hold(rule, program, VIEWS[rule](of_wanted), VIEWS[rule](of_seen) + hangs)


def hold(rule: str, program: Any, wanted: Any, seen: Any) -> None:
    """Say which rule does not hold for a program, where what was seen is not what is wanted.

    Raises:
        AssertionError: If so.
    """
    __tracebackhide__ = True  # the message says it all
    if seen != wanted:
        told.append(broken(rule, program, wanted, seen))
        raise AssertionError(told[-1])
