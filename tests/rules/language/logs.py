"""What a logger, that of the mechanism above all, says while a test runs.

What may live here: keeping it. What must be said is told by the tests.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Log(logging.Handler):
    """Keeps what a logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def warnings(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.levelno == logging.WARNING]


@contextmanager
def logged(name: str = "minibg.background") -> Iterator[Log]:
    logger, log = logging.getLogger(name), Log()
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
