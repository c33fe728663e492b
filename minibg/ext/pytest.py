"""A pytest plugin: a test fails if its background tasks have failed or have not run.

With FastAPI's tasks, a failure comes out of `TestClient`; with minibg's, it is a record in the log,
which a test would not notice. The fixture `background_tasks` makes the test fail. A test asks for
it by name; to have all tests ask for it, configure pytest:

    [tool.pytest.ini_options]
    usefixtures = ["background_tasks"]

pytest finds the plugin where minibg is installed; `pytest_plugins = ["minibg.ext.pytest"]` in a
`conftest.py` does no harm.

What may live here: that one fixture, and the hook by which it fails the test itself. It does not
touch a test that has not asked for it.
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
    """The log records about tasks that failed, were not run or were cut off."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []

    def __iter__(self) -> Iterator[str]:
        """Each as text, a failure with its traceback."""
        gc.collect()  # a list that was never run logs its tasks when it is collected
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
        """Fail the test if there are any."""
        if told := self.take():
            pytest.fail(f"background tasks failed, or were not run:\n{told}", pytrace=False)


@pytest.fixture(scope="session")
def _only_garbage_of_tests() -> Iterator[None]:
    """Spare the collector all that was imported, so that it takes a millisecond for each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(name=NAME)
def _background_tasks(_only_garbage_of_tests: None) -> Iterator[Complaints]:
    """The complaints about tasks that failed or were not run: they fail the test, unless cleared.

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

    with pytest.MonkeyPatch.context() as patched:  # a disabled logger would call no handler
        patched.setattr(logger, "isEnabledFor", is_noted_or_enabled_for)
        patched.setattr(logger, "handle", note_and_handle)
        yield complaints
        complaints.check()  # of the time after the test, such as an application's shutdown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test itself. If it has failed already, add the complaints to its report."""
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
