"""Secrets stay in: the logs name a task's function, but none of the values that it holds.

The text of an exception that a task raises is the task's own; here it is free of secrets, so that
the framework must have put any secret that is found there.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from minibg import (
    BackgroundTask,
    BackgroundTasks,
    Depends,
    FailFastTasks,
    HTTPException,
    MiniBG,
    Request,
    Response,
    Route,
    UploadFile,
)
from minibg.ext.monitoring import MonitoredTasks, TaskMetrics
from minibg.lab.recorder import (
    FailFastRecordingTasks,
    Recording,
    RecordingTasks,
    current_recording,
)
from tests.framework.asgi import ask
from tests.rules.language.exchange import Exchange
from tests.rules.language.logs import logged
from tests.rules.language.tasks import KINDS, make

SECRET = "ada@example.org:hunter2"


@contextmanager
def all_logged() -> Iterator[list[str]]:
    """All that any log line could show: its text, its traceback, its attributes."""
    shown: list[str] = []

    def show(record: logging.LogRecord) -> None:
        shown.extend([logging.Formatter().format(record), repr(vars(record))])

    level = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    try:
        with logged("root", show):
            yield shown
    finally:
        logging.root.setLevel(level)


# --- calls that hold secrets ---------------------------------------------------------------------


class Vault:
    """Shows its secret to whoever prints it, and has methods that fail."""

    def __repr__(self) -> str:
        return SECRET

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise ValueError("failed on purpose")

    def method(self, *args: object, **kwargs: object) -> None:
        raise ValueError("failed on purpose")

    async def async_method(self, *args: object, **kwargs: object) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("failed on purpose")


class AsyncVault(Vault):
    async def __call__(self, *args: object, **kwargs: object) -> None:
        await self.async_method()


class FailingToBeMade(Vault):
    def __init__(self, *args: object, **kwargs: object) -> None:
        self()


def fail(*args: object, **kwargs: object) -> None:
    raise ValueError("failed on purpose")


def closing_over(vault: Vault) -> Callable[..., None]:
    def call(*args: object, **kwargs: object) -> None:
        vault()

    return call


def refuse() -> None: ...
async def async_refuse() -> None: ...


FUNCTIONS: dict[str, Callable[[], Any]] = {
    **{kind: partial(make, kind, fail) for kind in KINDS},
    **{f"{kind}, refusing": partial(make, kind, lambda: None) for kind in KINDS},
    "a callable object": Vault,
    "a method": lambda: Vault().method,
    "an async callable object": AsyncVault,
    "an async method": lambda: Vault().async_method,
    "a lambda that has it as a default": lambda: lambda *args, token=SECRET: fail(token),
    "a function that closes over it": lambda: closing_over(Vault()),
    "a lambda that hands back a coroutine": lambda: lambda *args, **kw: AsyncVault()(),
    "a class": lambda: FailingToBeMade,
    "a function that takes nothing": lambda: refuse,
    "a coroutine function that takes nothing": lambda: async_refuse,
    "a task": lambda: BackgroundTask(fail, SECRET),
}

BOUND: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda func: func,
    "with a secret bound": lambda func: partial(func, SECRET, Vault()),
    "with secrets bound by name": lambda func: partial(partial(func, token=SECRET), vault=Vault()),
}

calls = st.lists(
    st.tuples(st.sampled_from(list(FUNCTIONS)), st.sampled_from(list(BOUND))),
    min_size=1,
    max_size=4,
)


def add_all(tasks: BackgroundTasks, added: list[tuple[str, str]]) -> None:
    """Add the calls, each with more secrets as its arguments."""
    for function, bound in added:
        func = BOUND[bound](FUNCTIONS[function]())
        tasks.add_task(func, SECRET, Vault(), address=SECRET, self=Vault())


# --- what becomes of them ------------------------------------------------------------------------


async def run(tasks: BackgroundTasks) -> None:
    await tasks()


async def run_within_another(tasks: BackgroundTasks) -> None:
    await type(tasks)([tasks])()


async def run_without_a_list(tasks: BackgroundTasks) -> None:
    for task in [tasks.tasks.popleft() for _ in range(len(tasks.tasks))]:
        await task()


async def cancel(tasks: BackgroundTasks) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await tasks()


async def forget(tasks: BackgroundTasks) -> None: ...


async def abandon(tasks: BackgroundTasks) -> None:
    tasks.abandon("shown here")


async def respond(tasks: BackgroundTasks) -> None:
    await Exchange()(Response(background=tasks))


async def respond_to_nobody(tasks: BackgroundTasks) -> None:
    await Exchange(client_gone=True)(Response(background=tasks))


async def print_them(tasks: BackgroundTasks) -> None:
    logging.getLogger("a test").info("%r %s %r", tasks, tasks, list(tasks.tasks))
    tasks.abandon("shown here")


FATES = [
    run,
    run_within_another,
    run_without_a_list,
    cancel,
    forget,
    abandon,
    respond,
    respond_to_nobody,
    print_them,
]

LISTS: list[type[BackgroundTasks]] = [
    BackgroundTasks,
    FailFastTasks,
    RecordingTasks,
    FailFastRecordingTasks,
    MonitoredTasks,
]


@pytest.mark.parametrize("fate", FATES)
@given(cls=st.sampled_from(LISTS), added=calls)
def test_nothing_said_of_a_task_holds_a_value_of_its_arguments(
    backend: str,
    fate: Callable[[BackgroundTasks], Any],
    cls: type[BackgroundTasks],
    added: list[tuple[str, str]],
) -> None:
    """Nothing that is said of a task holds a value that it was given."""
    recording, registry = Recording(), CollectorRegistry()
    if cls is MonitoredTasks:
        cls = type("Own", (MonitoredTasks,), {"metrics": TaskMetrics(registry)})

    async def main() -> None:
        current_recording.set(recording)
        tasks = cls()
        add_all(tasks, added)
        await fate(tasks)

    with all_logged() as shown:
        try:
            anyio.run(main, backend=backend)
        except Exception:
            logging.getLogger("the server").exception("failed")
    assert shown
    assert_free_of_secrets([*shown, repr(recording), generate_latest(registry).decode()])


def assert_free_of_secrets(shown: list[str]) -> None:
    for text in shown:
        for part in SECRET.split(":"):
            assert part not in text


def test_the_search_finds_what_a_careless_log_line_would_show() -> None:
    with all_logged() as shown:
        logging.getLogger("a test").info(
            "failed", extra={"task": BackgroundTask(fail, Vault()).args}
        )
    with pytest.raises(AssertionError):
        assert_free_of_secrets(shown)


def test_asyncios_debug_mode_shows_none_either() -> None:
    """It logs what the event loop calls, with the arguments, where that takes long."""

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        tasks = BackgroundTasks()
        add_all(tasks, [(function, "with a secret bound") for function in FUNCTIONS])
        await tasks()

    with all_logged() as shown:
        asyncio.run(main(), debug=True)
    assert any("Executing <Handle" in line for line in shown)
    assert_free_of_secrets(shown)


# --- requests ------------------------------------------------------------------------------------


def failing() -> None:
    raise LookupError(SECRET)


def failing_with(tasks: BackgroundTasks) -> None:
    add_all(tasks, [("a callable object", "with a secret bound")])
    failing()


def failing_dependency(held: None = Depends(failing)) -> None: ...


def failing_to_close() -> Iterator[None]:
    yield
    failing()


def closing_badly(held: None = Depends(failing_to_close, scope="function")) -> None: ...


def answering_what_has_no_form() -> object:
    return Vault()


def failing_fast(tasks: FailFastTasks) -> str:
    add_all(tasks, [("a function that takes nothing", "as it is")])
    return "answered"


def failing_handler(request: Request, exc: Exception) -> Response:
    raise LookupError(SECRET)


@pytest.mark.parametrize("handlers", [{}, {Exception: failing_handler}, {500: failing_handler}])
@pytest.mark.parametrize(
    "endpoint",
    [failing, failing_with, failing_dependency, closing_badly, answering_what_has_no_form],
)
def test_a_500_shows_no_internals(
    backend: str, endpoint: Callable[..., Any], handlers: Any
) -> None:
    app = MiniBG(routes=[Route("/", endpoint)], exception_handlers=handlers)
    answer = ask(app, fails=Exception, backend=backend)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert dict(answer.headers) == {
        b"content-length": b"21",
        b"content-type": b"text/plain; charset=utf-8",
    }


def test_a_failure_after_the_answer_adds_no_value_to_the_log(
    backend: str,
) -> None:
    """A failure after the answer adds nothing to it, and no value to the log."""
    app = MiniBG(routes=[Route("/", failing_fast)])
    with all_logged() as shown:
        answer = ask(app, fails=TypeError, backend=backend)
    assert answer.error is not None
    assert (answer.status, answer.body) == (200, b'"answered"')
    assert_free_of_secrets([*shown, *traceback.format_exception(answer.error)])


def test_an_http_exceptions_cause_is_not_answered(backend: str) -> None:
    """The detail of an `HTTPException` is answered, and its cause is not."""

    def endpoint() -> None:
        try:
            failing()
        except LookupError as exc:
            raise HTTPException(500) from exc

    answer = ask(MiniBG(routes=[Route("/", endpoint)]), backend=backend)
    assert (answer.status, answer.body) == (500, b'{"detail":"Internal Server Error"}')


def test_a_file_that_is_read_too_late_is_not_named_in_the_log(backend: str) -> None:
    """A file that a task reads too late is not named in the log.

    Who sends a file chooses its name, and may put their own into it.
    """

    async def read(file: UploadFile) -> None:
        await file.read()

    app = MiniBG()

    @app.post("/")
    def endpoint(file: UploadFile, tasks: BackgroundTasks) -> None:
        tasks.add_task(read, file)

    head = b"content-disposition: form-data; name=file; filename=hunter2.pdf"
    body = b"--b\r\n" + head + b"\r\n\r\ncontent\r\n--b--\r\n"
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    with all_logged() as shown:
        assert ask(app, "POST", headers=headers, body=[body], backend=backend).status == 200
    assert any("was closed when its request was released" in line for line in shown)
    assert_free_of_secrets(shown)
