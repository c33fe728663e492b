"""Task functions of every kind that `add_task` takes, each doing what one plain function does.

What may live here: making tasks. What must be seen of them is said by the test of each rule.
"""

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st

Body = Callable[..., Any]


def _function(body: Body) -> Body:
    def task(*args: Any, **kwargs: Any) -> None:
        body(*args, **kwargs)

    return task


def _coroutine_function(body: Body) -> Body:
    async def task(*args: Any, **kwargs: Any) -> None:
        body(*args, **kwargs)

    return task


class _Holder:
    def __init__(self, body: Body) -> None:
        self.body = body

    def method(self, /, *args: Any, **kwargs: Any) -> None:
        self.body(*args, **kwargs)

    async def async_method(self, /, *args: Any, **kwargs: Any) -> None:
        self.body(*args, **kwargs)


class _Callable(_Holder):
    __call__ = _Holder.method


class _AsyncCallable(_Holder):
    __call__ = _Holder.async_method


def _unmarked(task: Body) -> Body:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)

    return wrapper


def _marked(body: Body) -> Body:
    """A sync function that gives a coroutine and says so, as a decorator of async ones may do."""
    wrapper = _unmarked(_coroutine_function(body))
    if hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(wrapper)
    else:
        wrapper._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return wrapper


SYNC: dict[str, Callable[[Body], Body]] = {
    "a function": _function,
    "a partial": lambda body: partial(_function(body)),
    "a method": lambda body: _Holder(body).method,
    "a callable object": _Callable,
}

ASYNC: dict[str, Callable[[Body], Body]] = {
    "a coroutine function": _coroutine_function,
    "a partial of a coroutine function": lambda body: partial(partial(_coroutine_function(body))),
    "a partial of an async callable object": lambda body: partial(_AsyncCallable(body)),
    "an async method": lambda body: _Holder(body).async_method,
    "an async callable object": _AsyncCallable,
    "a marked wrapper": _marked,
}

HANDED_BACK: dict[str, Callable[[Body], Body]] = {
    "a function that hands back a coroutine": lambda body: _unmarked(_coroutine_function(body)),
}

KINDS = SYNC | ASYNC | HANDED_BACK


def make(kind: str, body: Body) -> Body:
    """A callable of that kind that calls `body` with what it is called with."""
    return KINDS[kind](body)


def kinds(among: dict[str, Any] = KINDS) -> st.SearchStrategy[str]:
    """The name of a kind."""
    return st.sampled_from(list(among))
