"""A fixture of pytest's that fails a test whose background tasks failed, or were not run.

With FastAPI's tasks a failure comes out of `TestClient`; with minibg's it is a record of the log,
which a test would not see. To have the fixture, name this module in `conftest.py`:

    pytest_plugins = ["minibg.ext.pytest"]

and to have it for all tests, add `pytestmark = pytest.mark.usefixtures("background_tasks")` to a
module, or `usefixtures = ["background_tasks"]` to pytest's configuration.

What may live here: that one fixture, and what makes it fail the test itself. It changes no other.
"""

import gc
import logging
from collections.abc import Generator, Iterator

import pytest

NAME = "background_tasks"
KEY = pytest.StashKey["Complaints"]()


class Complaints(logging.Handler):
    """What the mechanism has logged of tasks: failures, and tasks that were not run or cut off."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self.emit = self.records.append  # type: ignore[method-assign,assignment]

    def __iter__(self) -> Iterator[str]:
        """Each in words, a failure with its traceback."""
        return map(logging.Formatter("%(levelname)s %(message)s").format, self.records)

    def clear(self) -> None:
        """Forget them: the test expects them."""
        self.records.clear()


@pytest.fixture(name=NAME)
def _background_tasks(request: pytest.FixtureRequest) -> Generator[Complaints]:
    """What was logged of tasks that failed or were not run: it fails the test, unless cleared.

    def test_a_mail_that_is_refused(client, background_tasks):
        client.post("/register/ada")
        (complaint,) = background_tasks
        assert "send_mail failed" in complaint
        background_tasks.clear()
    """
    logger, complaints = logging.getLogger("minibg.background"), Complaints()
    request.node.stash[KEY] = complaints
    was_disabled, logger.disabled = logger.disabled, False
    logger.addHandler(complaints)
    try:
        yield complaints
    finally:
        logger.removeHandler(complaints)
        logger.disabled = was_disabled


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail the test in place of its teardown, so that it counts as failed."""
    called = yield
    if (complaints := pyfuncitem.stash.get(KEY, None)) is not None:
        gc.collect()  # a list that nobody has run speaks up when it goes
        if told := list(complaints):
            pytest.fail("background tasks failed, or were not run:\n" + "\n".join(told), False)
    return called
