"""The log records of a logger while a test runs.

What may live here: keeping them. The tests say what they must be.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Log(logging.Handler):
    """Keeps the records of a logger, or hands each to `hear` when it is made."""

    def __init__(self, hear: Callable[[logging.LogRecord], object] | None = None) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.hear = self.records.append if hear is None else hear

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(record)

    @property
    def warnings(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.levelno == logging.WARNING]


@contextmanager
def logged(
    name: str = "minibg.background", hear: Callable[[logging.LogRecord], object] | None = None
) -> Iterator[Log]:
    """Listen to the logger of that name; by default it is that of the mechanism."""
    logger, log = logging.getLogger(name), Log(hear)
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
