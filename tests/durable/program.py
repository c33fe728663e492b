"""Functions that another process can find, in a module, and what a test has them do."""

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from anyio.lowlevel import checkpoint

seen: list[Any] = []
"""What was called, in order."""
doing: dict[Any, Callable[[], Any]] = {}
"""What a call does, by its argument."""


def work(what: Any) -> Any:
    """A sync task."""
    seen.append(what)
    return doing.get(what, lambda: None)()


async def async_work(what: Any) -> None:
    """An async one."""
    seen.append(what)
    result = doing.get(what, lambda: None)()
    if isawaitable(result):
        await result
    await checkpoint()
