"""A generator function in both kinds, sync and async, for a stream or a dependency with `yield`.

What may live here: making the kinds. The tests say what must come of them.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import pytest
from anyio.lowlevel import checkpoint

P = ParamSpec("P")
T = TypeVar("T")


def in_a_thread(generate: Callable[P, Generator[T]]) -> Callable[P, Generator[T]]:
    """The generator function as it is: minibg runs a sync one in a thread."""
    return generate


def on_the_loop(generate: Callable[P, Generator[T]]) -> Callable[P, AsyncGenerator[T]]:
    """An async generator function that does likewise, and lets the loop turn at each `yield`.

    What is thrown into it closes the generator, and is not seen there.
    """

    @wraps(generate)
    async def generate_on_the_loop(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        with closing(generate(*args, **kwargs)) as items:
            for item in items:
                try:
                    yield item
                finally:
                    await checkpoint()

    return generate_on_the_loop


Kind = Callable[[Callable[..., Generator[Any]]], Callable[..., Any]]

both_kinds = pytest.mark.parametrize("kind", [in_a_thread, on_the_loop])
"""Gives a test first the one, then the other as `kind`."""
