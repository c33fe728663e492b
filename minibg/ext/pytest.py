"""A pytest plugin: a test fails whose background tasks have failed, or have not run.

With FastAPI's tasks a failure comes out of `TestClient`; with minibg's it is a record of the log,
which a test would not see. The fixture `background_tasks` makes it see them. A test asks for it by
name, or all do, by pytest's configuration:

    [tool.pytest.ini_options]
    usefixtures = ["background_tasks"]

pytest finds the plugin where minibg is installed; `pytest_plugins = ["minibg.ext.pytest"]` in a
`conftest.py` does no harm.

What may live here: that one fixture, and what makes it fail the test itself. A test that has not
asked for it is left alone.
"""

import gc
import logging
from collections.abc import Generator, Iterator

try:
    import pytest
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "minibg.ext.pytest is a plugin of pytest: pip install pytest", name=exc.name
    ) from exc

NAME = "background_tasks"


class Complaints:
    """What was logged of tasks that failed, were not run or were cut off, in words."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []

    def __iter__(self) -> Iterator[str]:
        """Each in words, a failure with its traceback."""
        gc.collect()  # a list that nobody has run speaks up when it goes
        return map(logging.Formatter("%(levelname)s %(message)s").format, self.records)

    def __repr__(self) -> str:
        return f"<{NAME}: {[*self]}>"

    def clear(self) -> None:
        """Forget them: the test expects them."""
        self.records.clear()

    def take(self) -> str:
        """Return all of them as one text, and forget them."""
        told = "\n".join(self)
        self.clear()
        return told

    def check(self) -> None:
        """Fail the test, if there are any."""
        if told := self.take():
            pytest.fail(f"background tasks failed, or were not run:\n{told}", pytrace=False)


@pytest.fixture(scope="session")
def _only_garbage_of_tests() -> Iterator[None]:
    """Spare the collector what was imported: so it takes a millisecond for each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(name=NAME)
def _background_tasks(_only_garbage_of_tests: None) -> Iterator[Complaints]:
    """What was logged of tasks that failed or were not run: it fails the test, unless cleared.

    def test_a_mail_that_is_refused(client, background_tasks):
        client.post("/register/ada")
        (complaint,) = background_tasks
        assert "send_mail failed" in complaint
        background_tasks.clear()
    """
    gc.collect()  # so that lists left by other tests are not counted as this one's
    logger, complaints = logging.getLogger("minibg.background"), Complaints()
    handle, is_enabled_for = logger.handle, logger.isEnabledFor

    def is_noted_or_enabled_for(level: int) -> bool:
        return level >= logging.WARNING or is_enabled_for(level)

    def note_and_handle(record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            complaints.records.append(record)
        if is_enabled_for(record.levelno):
            handle(record)

    with pytest.MonkeyPatch.context() as patched:  # no handler hears of a logger that is disabled
        patched.setattr(logger, "isEnabledFor", is_noted_or_enabled_for)
        patched.setattr(logger, "handle", note_and_handle)
        yield complaints
        complaints.check()  # of what has ended since the test: an application's shutdown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test itself. Where it has failed already, show the complaints beside that."""
    complaints = getattr(item, "funcargs", {}).get(NAME)
    if not isinstance(complaints, Complaints):
        return (yield)
    try:
        called = yield
    except BaseException:
        if told := complaints.take():
            item.add_report_section("call", NAME, told)
        raise
    complaints.check()
    return called
