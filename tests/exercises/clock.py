"""A clock that jumps: when nothing can be done but wait, the time to wait for has come.

So tests of seconds take none, and can compare seconds exactly. The clock waits for no thread.
"""

from asyncio import SelectorEventLoop
from collections.abc import Awaitable, Callable
from selectors import DefaultSelector, SelectorKey
from typing import Any, TypeVar

import anyio
from trio.testing import MockClock

T = TypeVar("T")


class _JumpingSelector(DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None:
            self.now += max(timeout, 0)
        return ready


class _JumpingLoop(SelectorEventLoop):
    def __init__(self, jumping: _JumpingSelector) -> None:
        self.jumping = jumping
        super().__init__(jumping)

    def time(self) -> float:
        return self.jumping.now


class Clock:
    """Such a clock for one run of an event loop. It begins at 0."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        if backend == "trio":
            clock = MockClock(autojump_threshold=0)
            self.now: Callable[[], float] = clock.current_time
            self.options: dict[str, Any] = {"clock": clock}
        else:
            selector = _JumpingSelector()
            self.now = lambda: selector.now
            self.options = {"loop_factory": lambda: _JumpingLoop(selector)}

    def run(self, func: Callable[..., Awaitable[T]], *args: Any) -> T:
        """`anyio.run`, by this clock."""
        return anyio.run(func, *args, backend=self.backend, backend_options=self.options)
