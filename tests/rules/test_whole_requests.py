"""Rules at once: requests overlap on a few connections, and everything happens that can happen.

Endpoints, responses and tasks wait until the machine lets them go on. So the machine decides what
overlaps with what, and each of its steps ends when all requests wait again. The first test makes
the steps by hand; in the others Hypothesis chooses them.

What may live here: the machine, and what can be seen of requests that overlap: seven of the rules.
The test of a rule says what it means for one request alone.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from itertools import dropwhile
from traceback import format_exception
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup, TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, FlakyStrategyDefinition
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from minibg import (
    BackgroundTasks,
    FailFastTasks,
    HTTPException,
    MiniBG,
    Response,
    StreamingResponse,
)
from minibg.types import ASGIApp, Message
from tests.rules.language import SECONDS
from tests.rules.language.exchange import Connection, Exchange, is_last
from tests.rules.language.logs import Log, logged
from tests.rules.language.programs import REASONS, hold
from tests.rules.language.words import Program, Request, Task, labelled
from tests.rules.test_the_rules_bite import SABOTEURS, at_work


def test_a_request_comes_and_goes_while_a_task_waits(backend: str) -> None:
    """Two requests overlap, each with one task; the first one's task waits meanwhile."""
    one_task = Request(injected=Program((Task("a coroutine function"),)))
    with servers_on(backend) as new_server:
        server = new_server()
        server.connect()
        server.send(server.connections[0], "answers", one_task)
        server.go_on(server.requests[0], 1)  # its endpoint returns
        server.go_on(server.requests[0], 1)  # its last byte is taken
        server.connect()
        server.send(server.connections[1], "answers", one_task)
        server.finish(server.requests[1])
        server.finish(server.requests[0])
        server.teardown()
    assert server.story == [
        "requests[0] answer",
        "requests[0] response",
        "requests[0] injected 0 starts",
        "requests[1] answer",
        "requests[1] response",
        "requests[1] injected 0 starts",
        "requests[1] injected 0 ends",
        "requests[1] over",
        "requests[0] injected 0 ends",
        "requests[0] over",
    ]


POLICIES = {"isolate": BackgroundTasks, "fail fast": FailFastTasks}
ENDPOINTS = ["answers at once", "answers", "answers from a thread", "streams", "refuses", "fails"]
KINDS = ["a function", "a coroutine function", "a function that hands back a coroutine"]
CANCELLED_BY = ["its scope", "its event loop"]


tasks = st.builds(
    Task,
    kind=st.sampled_from(KINDS),
    adds=st.lists(st.builds(Task, kind=st.sampled_from(KINDS)), max_size=2).map(tuple),
    raises=st.sampled_from([None, None, ValueError]),
)
programs = st.builds(
    Program,
    tasks=st.lists(tasks, min_size=1, max_size=3).map(tuple),
    policy=st.sampled_from([*POLICIES]),
)
works = st.builds(Request, injected=programs, own=programs)
endpoints = st.just("answers at once") | st.sampled_from(ENDPOINTS)

news = threading.Condition()
"""Notified when a request waits, and when something was seen of it."""

serving: ContextVar["Sent"] = ContextVar("serving")
"""The request whose run this is, whosever task it runs."""


class Events(list[str]):
    """What was seen of a request; `story` tells it of all requests together."""

    def __init__(self, request: object, story: list[str]) -> None:
        super().__init__()
        self.request, self.story = request, story

    def append(self, event: str) -> None:
        with news:
            super().append(event)
            whose = f"{self.request} "
            self.story.append(event if event.startswith(whose) else whose + event)
            news.notify_all()


class Added:
    """What was added to one list of a request."""

    def __init__(self, tasks: BackgroundTasks) -> None:
        self.tasks = tasks
        self.labels: list[str] = []
        self.failed: list[str] = []

    def add(self, added: Iterable[Any], prefix: str) -> None:
        for label, task in labelled(added, prefix):
            self.labels.append(label)
            self.tasks.add_task(self.make(label, task))

    def make(self, label: str, task: Task) -> Callable[[], Any]:
        """A function of the task's kind, which waits, and then does what the task does."""

        def begin() -> None:
            serving.get().events.append(f"{label} starts")

        def end() -> None:
            self.add(task.adds, f"{label}.")
            serving.get().events.append(f"{label} ends")
            if task.raises is not None:
                self.failed.append(label)
                raise task.raises

        def function() -> None:
            begin()
            serving.get().wait_in_thread()
            end()

        async def coroutine_function() -> None:
            begin()
            await serving.get().wait()
            end()

        async def rest() -> None:
            await serving.get().wait()
            end()

        def handing_back() -> Any:
            begin()
            serving.get().wait_in_thread()
            return rest()

        func = (function, coroutine_function, handing_back)[KINDS.index(task.kind)]
        func.__qualname__ = f"<{label}>"  # by which the log speaks of the task
        return func


class Sent(Exchange):
    """A request that was sent: what was added for it, and what was seen of it."""

    def __init__(
        self,
        connection: Connection,
        endpoint: str,
        work: Request,
        number: int,
        story: list[str],
    ) -> None:
        super().__init__(
            f"/{endpoint}/{number}",
            Events(self, story),
            self.wait_with_the_last_byte,
            client_gone=lambda message: connection.closed.is_set(),
        )
        self.connection, self.endpoint, self.work, self.number = connection, endpoint, work, number
        self.lists: list[Added] = []
        self.let_go: Callable[[], object] | None = None
        self.in_thread = self.waits_no_more = self.is_settled = False
        self.cancel_by: dict[str, Callable[[], object]] = {}

    def __repr__(self) -> str:
        return f"requests[{self.number}]"

    @property
    def is_over(self) -> bool:
        return self.events[-1:] == ["over"]

    @property
    def is_served(self) -> bool:
        return self not in self.connection.waiting and not self.is_over

    @property
    def is_cancelled(self) -> bool:
        return "cancelled" in self.events

    @property
    def labels(self) -> list[str]:
        """Of all tasks that were added for it, in the order in which they have to run."""
        return [label for added in self.lists for label in added.labels]

    def failed(self, policy: str) -> list[str]:
        """Those of its tasks that failed in a list of that policy."""
        lists = [added for added in self.lists if type(added.tasks) is POLICIES[policy]]
        return [label for added in lists for label in added.failed]

    async def __call__(self, app: ASGIApp) -> None:
        """Have the application serve it, and be ready to cancel that."""
        serving.set(self)
        self.loop_thread = threading.get_ident()
        with suppress(asyncio.CancelledError), anyio.CancelScope() as scope:
            self.cancel_by = dict.fromkeys(CANCELLED_BY, scope.cancel)
            with suppress(RuntimeError):  # trio has no other way
                task = asyncio.current_task()
                assert task is not None
                self.cancel_by["its event loop"] = task.cancel
            await super().__call__(app)

    def cancel(self, by: str) -> None:
        """Cancel it, and close its connection. What waits in a thread waits on."""
        if not self.in_thread:
            self.let_go = None
        self.events.append("cancelled")
        self.connection.closed.set()
        self.cancel_by[by]()

    def waits(self, let_go: Callable[[], object], *, in_thread: bool = False) -> None:
        """Say so to the machine. On the loop, what is cancelled will not wait."""
        with news:
            if self.waits_no_more:
                let_go()
            elif in_thread or not self.is_cancelled:
                self.let_go, self.in_thread = let_go, in_thread
                news.notify_all()

    async def wait(self) -> None:
        event = anyio.Event()
        self.waits(event.set)
        await event.wait()

    def wait_in_thread(self) -> None:
        event = threading.Event()
        self.waits(event.set, in_thread=True)
        if threading.get_ident() != self.loop_thread:  # a loop that waits can let nobody go on
            assert event.wait(SECONDS)

    async def wait_with_the_last_byte(self, message: Message) -> None:
        """Take it when the machine lets it."""
        if message["type"] == "http.response.start":
            self.events.append("answer")
        if is_last(message) and self.endpoint != "answers at once":
            await self.wait()

    def add_all(self, name: str, program: Program, tasks: BackgroundTasks) -> None:
        self.lists.append(Added(tasks))
        self.lists[-1].add(program.tasks, f"{self} {name} ")

    def answer(self) -> Response:
        """What its endpoint returns, or raises."""
        if self.endpoint == "refuses":
            raise HTTPException(418)
        if self.endpoint == "fails":
            raise LookupError
        background = POLICIES[self.work.own.policy]()
        self.add_all("own", self.work.own, background)
        if self.endpoint == "streams":
            return StreamingResponse(self.pieces(), background=background)
        return Response(background=background)

    def pieces(self) -> Iterator[bytes]:
        self.wait_in_thread()
        yield b"one piece"


def app_of(requests: list[Sent]) -> MiniBG:
    """An application that does with each request what its path says."""
    app = MiniBG()

    def begin(number: int, isolating: BackgroundTasks, strict: FailFastTasks) -> Sent:
        injected = requests[number].work.injected
        requests[number].add_all(
            "injected", injected, isolating if injected.policy == "isolate" else strict
        )
        return requests[number]

    async def endpoint(number: int, isolating: BackgroundTasks, strict: FailFastTasks) -> Response:
        request = begin(number, isolating, strict)
        if request.endpoint != "answers at once":
            await request.wait()
        return request.answer()

    def in_thread(number: int, isolating: BackgroundTasks, strict: FailFastTasks) -> Response:
        request = begin(number, isolating, strict)
        request.wait_in_thread()
        return request.answer()

    for path in ENDPOINTS:
        func = in_thread if path == "answers from a thread" else endpoint
        app.get(f"/{path}/{{number:int}}")(func)
    return app


# --- What must be seen of a request --------------------------------------------------------------


Claim = tuple[list[Any], list[Any]]
"""What is wanted of a request, as far as it has come, and what is seen."""


def own_list(request: Sent, log: Log) -> Claim:
    """What starts in a request, or is named for it, is a task of its own."""
    together = starts(request.events)
    together += [label for _, label in named(request, log, logging.WARNING)]
    return [name for name in together if name.startswith(f"{request} ")], together


def after(request: Sent, log: Log) -> Claim:
    """The response comes before the first task."""
    first = starts(request.events, "response")[:1]
    return ["response"][: len(first)], first


def order(request: Sent, log: Log) -> Claim:
    """Tasks of the endpoint run one after another; those that a task adds are left out."""
    return in_turn(request, [label for label in request.labels if "." not in label])


def grow(request: Sent, log: Log) -> Claim:
    """Tasks that are added during the run stand in the same order."""
    return in_turn(request, request.labels)


def in_turn(request: Sent, labels: list[str]) -> Claim:
    """Each task starts and ends before the next one starts, as far as they have come."""
    all_run = [f"{label} {what}" for label in labels for what in ("starts", "ends")]
    ran = [event for event in request.events if event in all_run]
    return all_run[: len(ran)], ran


def isolate(request: Sent, log: Log) -> Claim:
    """Each failure is logged; under fail fast it reaches the server instead."""
    wanted = request.failed("isolate")
    seen = [label for _, label in named(request, log, logging.ERROR)]
    if request.is_over and not request.is_cancelled:
        reached = "ValueError reached the server"
        wanted += [reached for _ in request.failed("fail fast")]
        seen += [event for event in request.events if event == reached]
    return wanted, seen


def cancel(request: Sent, log: Log) -> Claim:
    """No task starts after a cancellation."""
    since = dropwhile(lambda event: event != "cancelled", request.events)
    seen = starts(since, "cancelled")
    return [event for event in seen if event == "cancelled"], seen


def nothing_lost(request: Sent, log: Log) -> Claim:
    """Each task of a request that is over has run to its end, or is named with the reason."""
    if not request.is_over:
        return [], []
    return sorted(wanted_fates(request)), sorted(seen_fates(request, log))


CLAIMS: dict[str, Callable[[Sent, Log], Claim]] = {
    "own list": own_list,
    "after": after,
    "order": order,
    "grow": grow,
    "isolate": isolate,
    "cancel": cancel,
    "nothing lost": nothing_lost,
}


def starts(events: Iterable[str], *besides: str) -> list[str]:
    """Of the events, that a task starts, and what besides."""
    return [event for event in events if event.endswith(" starts") or event in besides]


def named(request: Sent, log: Log, level: int) -> Iterator[tuple[str, str]]:
    """The messages at that level about tasks of the request, with each task that they name."""
    for record in log.records:
        message = record.getMessage()
        if record.levelno == level and f"<{request} " in message:
            yield from ((message, label) for label in re.findall("<(.*?)>", message))


def wanted_fates(request: Sent) -> Iterator[tuple[str, str]]:
    """What must have become of each task of a request that is over."""
    for label in request.labels:
        if f"{label} starts" in request.events:
            cut_off = request.is_cancelled and f"{label} ends" not in request.events
            yield label, "cut off" if cut_off else "it ran"
        elif "answer" in request.events and request.endpoint not in ("refuses", "fails"):
            sent = "response" in request.events
            ended = "cancelled" if request.is_cancelled else "an earlier failure"
            yield label, ended if sent else "the response was not sent"
        else:  # asyncio may cancel the endpoint's thread hop, and so lose its response
            yield label, "no run took them" if " own " in label else "the endpoint raised"


def seen_fates(request: Sent, log: Log) -> Iterator[tuple[str, str]]:
    """What has become of each task of a request that is over."""
    for label in request.labels:
        if f"{label} ends" in request.events:
            yield label, "it ran"
    for message, label in named(request, log, logging.WARNING):
        if message.startswith("background task cut off (cancelled"):
            yield label, "cut off"
        else:
            yield from ((label, reason) for reason in REASONS if f"({reason}" in message)
    for added in request.lists:  # what stands there still is named when the list goes
        left = [task.func.__qualname__ for task in added.tasks.tasks]
        yield from ((name.strip("<>"), "no run took them") for name in left)


# --- The machine ---------------------------------------------------------------------------------


def any_of(name: str) -> st.SearchStrategy[Any]:
    """One of what the machine has under that name."""
    return st.runner().flatmap(lambda server: st.sampled_from(getattr(server, name)))


def there_is(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A step that is possible while the machine has something under that name."""
    return precondition(lambda server: bool(getattr(server, name)))


class Server(RuleBasedStateMachine):
    """Requests in all their stages, and what can happen to them next."""

    def __init__(self, portal: BlockingPortal, group: TaskGroup, log: Log) -> None:
        super().__init__()
        self.portal, self.group, self.log = portal, group, log
        self.log.records.clear()
        self.connections: list[Connection] = []
        self.requests: list[Sent] = []
        self.story: list[str] = []
        self.app = app_of(self.requests)
        self.is_sound = True

    @property
    def open(self) -> list[Connection]:
        return [connection for connection in self.connections if not connection.closed.is_set()]

    @property
    def idle(self) -> list[Connection]:
        return [connection for connection in self.open if connection.answering is None]

    @property
    def busy(self) -> list[Connection]:
        busy = [connection for connection in self.open if connection.answering is not None]
        return [connection for connection in busy if not connection.waiting]

    @property
    def in_use(self) -> list[Connection]:
        of_requests = [request.connection for request in self.served]
        return [connection for connection in self.open if connection in of_requests]

    @property
    def served(self) -> list[Sent]:
        return [request for request in self.requests if request.is_served]

    @property
    def waiting(self) -> list[Sent]:
        return [request for request in self.served if request.let_go is not None]

    @property
    def cancellable(self) -> list[Sent]:
        """Those whose background runs, which are the fewest, or else all."""
        running = [request for request in self.served if "response" in request.events]
        return [request for request in running if not request.is_cancelled] or self.served

    @precondition(lambda self: len(self.open) < 3 and not self.idle)
    @rule()
    def connect(self) -> None:
        name = f"connections[{len(self.connections)}]"
        self.connections.append(Connection(self.app, self.group, name))

    @there_is("idle")
    @rule(connection=any_of("idle"), endpoint=endpoints, work=works)
    def send(self, connection: Connection, endpoint: str, work: Request) -> None:
        request = Sent(connection, endpoint, work, len(self.requests), self.story)
        self.requests.append(request)
        self.do(connection.serve, request)

    @there_is("busy")
    @rule(connection=any_of("busy"), endpoint=endpoints, work=works)
    def pipeline(self, connection: Connection, endpoint: str, work: Request) -> None:
        self.send(connection, endpoint, work)

    @there_is("waiting")
    @rule(request=any_of("waiting"), stops=st.integers(1, 9))
    def go_on(self, request: Sent, stops: int) -> None:
        for _ in range(stops):
            if request.let_go is not None:
                let_go, request.let_go = request.let_go, None
                self.do(let_go)

    @there_is("waiting")
    @rule(request=any_of("waiting"))
    def finish(self, request: Sent) -> None:
        while not request.is_over:
            self.go_on(request, 1)

    @there_is("in_use")
    @rule(connection=any_of("in_use"))
    def hang_up(self, connection: Connection) -> None:
        self.do(connection.closed.set)

    @there_is("served")
    @rule(request=any_of("cancellable"), by=st.sampled_from(CANCELLED_BY))
    def cancel(self, request: Sent, by: str) -> None:
        self.do(request.cancel, by)

    @precondition(lambda self: len(self.served) > 2)
    @rule()
    def shut_down(self) -> None:
        def cancel_all() -> None:
            for connection in self.open:
                connection.closed.set()
            for request in self.served:
                request.cancel("its event loop")

        self.do(cancel_all)

    def teardown(self) -> None:
        """Let all requests go on to their ends, without further waiting."""

        def let_all_go() -> None:
            for request in self.requests:
                request.waits_no_more = True
                if request.let_go is not None:
                    request.let_go()
                    request.let_go = None

        self.do(let_all_go)
        for request in self.requests:
            for added in request.lists:
                added.tasks.abandon("the test is over")  # else it is named in the log of another

    def do(self, step: Callable[..., object], *args: Any) -> None:
        """Make a step, and check what was seen when all requests wait again or are over."""
        self.portal.call(step, *args)
        with news:
            news.wait_for(lambda: self.waiting == self.served, SECONDS)
            stuck = {request: request.events for request in self.served if not request.let_go}
        assert not stuck, f"after {SECONDS} seconds these requests neither wait nor end: {stuck}"
        if self.is_sound:
            self.is_sound = False  # what has failed is not checked again
            self.check()
            self.is_sound = True

    def check(self) -> None:
        """Hold all that was seen against the rules; a request that is over, for the last time."""
        for request in self.requests:
            if not request.is_settled:
                for name, claim in CLAIMS.items():
                    hold(name, (request, request.work), *claim(request, self.log))
                request.is_settled = request.is_over


async def keep_open(*, task_status: TaskStatus[TaskGroup]) -> None:
    async with anyio.create_task_group() as group:
        task_status.started(group)
        await anyio.sleep_forever()


@contextmanager
def servers_on(backend: str) -> Iterator[Callable[[], Server]]:
    """Make servers, one after another, on one event loop that goes on from step to step."""
    with logged() as log, start_blocking_portal(backend) as portal:
        kept_open, group = portal.start_task(keep_open)
        try:
            yield partial(Server, portal, group, log)
        finally:
            kept_open.cancel()


def run_machine(backend: str, **options: Any) -> None:
    """Have Hypothesis choose the steps."""
    with servers_on(backend) as new_server:
        run_state_machine_as_test(
            new_server,  # type: ignore[arg-type]  # a factory will do
            settings=settings(stateful_step_count=30, **options),
        )


SHOWING = [
    "async tasks are taken from the end",
    "the first failure stops the rest",
    "the run takes no more turns than it had tasks at first",
    "requests share a list",
    "tasks run before the body is sent",
    "a run that ends early says nothing",
    "a row goes on when the run is cancelled",
]
"""Saboteurs, one for each rule that can be seen here, that take few steps to show."""


@pytest.fixture(autouse=True)
def _unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pytest not format each of the failures that are logged."""
    monkeypatch.setattr(logging.getLogger("minibg.background"), "propagate", False)


@pytest.mark.parametrize("how", SHOWING)
def test_a_broken_rule_shows_among_whole_requests(backend: str, how: str) -> None:
    """Maybe by the name of another one: where requests share a list, tasks get lost too."""
    [saboteur] = [saboteur for saboteur in SABOTEURS if saboteur.how == how]
    failure = ""
    # What a thread does against a rule differs from run to run, and Hypothesis may see that first.
    for _ in range(3):
        with at_work(saboteur), pytest.raises((AssertionError, Flaky)) as raised:
            run_machine(backend, phases=[Phase.generate], max_examples=500)
        failure = "".join(format_exception(raised.value))
        if not isinstance(raised.value, FlakyStrategyDefinition):
            break
    assert re.search(r"AssertionError: the rule \*\*.+\*\* is broken", failure)


@pytest.mark.timeout(400)  # where it fails, Hypothesis takes up to 300 s to shorten the steps
def test_the_rules_hold_however_requests_overlap(backend: str) -> None:
    run_machine(backend, phases=[Phase.reuse, Phase.generate, Phase.shrink])
