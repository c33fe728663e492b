"""The rules' tests run in the order of `words.py`, and a failure begins with the broken rule.

A test belongs to the rule of its module. A failure that names a rule itself, as those of generated
programs do, is reported as it is; any other is reported with the rule of its test in front.
"""

import faulthandler
import signal
import sys
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import is_hypothesis_test

from tests.rules.language.reporting import in_front, told, tried
from tests.rules.language.telling import report_of, rule_of, side_by_side
from tests.rules.language.words import RULES

PLACES = {rule: place for place, rule in enumerate(RULES)}
COMPARED = pytest.StashKey[list[str]]()


class TookTooLong(BaseException):
    """A test hangs. It is no `Exception`, so that Hypothesis does not try the same once more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of the rules among themselves; all others stay where they are."""

    def place(item: pytest.Item) -> tuple[bool, float, bool]:
        mark, rule = item.get_closest_marker("basic"), rule_of(item.path.stem)
        is_concrete = not is_hypothesis_test(getattr(item, "obj", None))
        if mark is not None and "before" in mark.kwargs:
            return False, PLACES[mark.kwargs["before"]] - 0.5, is_concrete
        return mark is None, PLACES.get(rule or "", len(PLACES)), is_concrete and mark is not None

    places = [i for i, item in enumerate(items) if item.path.parent.name == "rules"]
    in_order = sorted((items[i] for i in places), key=place)
    for i, item in zip(places, in_order, strict=True):
        items[i] = item


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Note both sides of `assert seen == expected` and of `assert expected in seen`, in columns."""
    del config
    if op in ("==", "in"):
        wanted, seen = (right, left) if op == "==" else (left, right)
        _compared[:] = side_by_side(wanted, seen, 24)
    return None


_compared: list[str] = []
"""The last comparison that failed, in columns."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the rule in front of a failure, of an error in a fixture, of a test that hangs."""
    report = yield
    if report.failed and call.excinfo is not None:
        text = _report_of(item, root_of(call.excinfo.value), _compared, _line(call))
        report.longrepr = in_front(text, report.longrepr)
    if call.when == "call" or report.failed:
        _compared.clear()
        told.clear()
        tried.clear()
    return report


def _report_of(
    item: pytest.Item, exc: BaseException, compared: Iterable[str] = (), line: str = ""
) -> str:
    """What is told of a failure; where time is over, of the smallest program that has failed."""
    hangs = isinstance(exc, TookTooLong)
    if told and hangs:
        return min(told, key=len)
    program = tried[-1] if tried and hangs else None
    return report_of(item.nodeid, _doc(item), exc, compared, line, program)


def root_of(exc: BaseException) -> BaseException:
    """The end of the time, if Hypothesis has taken it for data that changed while it drew them."""
    reason: BaseException | None = exc
    while reason is not None and not isinstance(reason, TookTooLong):
        reason = reason.__context__
    return reason or exc


def _doc(item: pytest.Item) -> str:
    return (getattr(getattr(item, "obj", None), "__doc__", None) or "").split("\n\n")[0]


def _line(call: pytest.CallInfo[None]) -> str:
    """The line of the test at which it failed, not of a task of its own that has raised.

    That is the assertion itself, also where a function of the test makes it.
    """
    assert call.excinfo is not None
    frames = call.excinfo.traceback
    inside = [entry for entry in frames if Path(entry.path).name.startswith("test_")]
    lines = [str(entry.statement).strip() for entry in inside]
    if inside and inside[-1] is frames[-1] and lines[-1].startswith("assert "):
        return lines[-1]
    return next((line for line in lines if not line.startswith("@")), "")  # Hypothesis's frame


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Have a test that hangs fail by its rule: raise where it hangs, or speak up in a thread.

    `settings` are those of pytest-timeout: its limit in seconds, and its method.
    """
    if settings.method == "signal" and threading.current_thread() is threading.main_thread():

        def stop(signum: int, frame: FrameType | None) -> None:
            if item.stash.get(RUNS, False):  # else pytest or Hypothesis itself is at work
                raise TookTooLong(f"after {settings.timeout:g} seconds{where_in_minibg(frame)}")

        def cancel() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

        item.cancel_timeout = cancel  # type: ignore[attr-defined]  # where pytest-timeout looks
        signal.signal(signal.SIGALRM, stop)
        # Once more, and so on: an event loop may have swallowed the first.
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, 1)
        return True
    speak = threading.Timer(0.98 * settings.timeout, _speak_up, [item])
    speak.daemon = True
    item.stash[SPEAKS] = speak
    speak.start()
    return None


def where_in_minibg(frame: FrameType | None) -> str:
    """The line of minibg that holds the thread; nothing if none does, as where tasks wait."""
    while frame is not None:
        code = frame.f_code
        if (path := Path(code.co_filename)).parent.name == "minibg":
            return f", in minibg/{path.name}, line {frame.f_lineno}: {code.co_qualname}"
        frame = frame.f_back
    return ""


SPEAKS = pytest.StashKey[threading.Timer]()
RUNS = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Note that a test runs, and may be stopped."""
    return (yield from _running(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Note that a test runs, and may be stopped."""
    return (yield from _running(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Note that a fixture of the test ends, and may be stopped."""
    return (yield from _running(item))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process if a list that a test has left hangs while Python frees it.

    A worker of pytest-xdist waits here for the others; the process that started it ends it.
    """
    if not hasattr(config, "workerinput") and sys.__stderr__ is not None:
        faulthandler.dump_traceback_later(SECONDS_TO_END, exit=True, file=sys.__stderr__)


SECONDS_TO_END = 30


def _running(item: pytest.Item) -> Generator[None, object, object]:
    item.stash[RUNS] = True
    try:
        return (yield)
    finally:
        item.stash[RUNS] = False


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """Say nothing of a test that has ended in time."""
    if (speak := item.stash.get(SPEAKS, None)) is not None:
        speak.cancel()


def _speak_up(item: pytest.Item) -> None:
    """Say which rule it is about, as pytest-timeout ends the process next."""
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        hangs = TookTooLong("the process is ended")
        print(f"\n{_report_of(item, hangs)}\n", file=sys.__stderr__, flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Name the rule also where an interrupt ends all tests: a task may have raised it."""
    try:
        return (yield)
    except KeyboardInterrupt as exc:
        writer = item.config.get_terminal_writer()
        writer.write(f"\n{_report_of(item, exc)}\n", flush=True)
        raise
