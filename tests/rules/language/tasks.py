"""Task functions of the kinds that programs are made of, each of which does what one function does.

That function, the body, may be a generator: at each `yield` an async task lets the loop turn.

What may live here: making tasks. The test of each rule says what must be seen of them.
"""

import asyncio
import inspect
from collections.abc import Callable, Generator
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import anyio
from hypothesis import strategies as st

Body = Callable[..., Any]
T = TypeVar("T", bound=Body)


def _do(steps: Any) -> None:
    if isinstance(steps, Generator):
        for _ in steps:
            pass


async def _do_in_turns(steps: Any) -> None:
    if isinstance(steps, Generator):
        for _ in steps:
            await anyio.lowlevel.checkpoint()


def _named(task: T, body: Body) -> T:
    """The task under its body's name, by which logs then speak of it."""
    task.__qualname__ = getattr(body, "__qualname__", "task")
    return task


def _function(body: Body) -> Body:
    def task(*args: Any, **kwargs: Any) -> None:
        _do(body(*args, **kwargs))

    return _named(task, body)


def _coroutine_function(body: Body) -> Body:
    async def task(*args: Any, **kwargs: Any) -> None:
        await _do_in_turns(body(*args, **kwargs))

    return _named(task, body)


def _method(task: Body, name: str = "method") -> Any:
    """An object of a class of its own, which has the task as a method of that name."""

    def method(self: object, /, *args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)

    async def async_method(self: object, /, *args: Any, **kwargs: Any) -> Any:
        return await task(*args, **kwargs)

    bound = _named(async_method if iscoroutinefunction(task) else method, task)
    return _named(type("Holder", (), {name: bound}), task)()


def _async_callable(body: Body) -> Any:
    return _method(_coroutine_function(body), "__call__")


def _unmarked(task: Body) -> Body:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)

    return _named(wrapper, task)


def _marked(body: Body) -> Body:
    """A sync function that gives a coroutine and says so, as a decorator of async ones may do."""
    wrapper = _unmarked(_coroutine_function(body))
    if hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(wrapper)
    else:
        of_asyncio: Any = asyncio.coroutines
        vars(wrapper)["_is_coroutine"] = of_asyncio._is_coroutine
    return wrapper


SYNC: dict[str, Callable[[Body], Body]] = {
    "a function": _function,
    "a partial": lambda body: partial(_function(body)),
    "a method": lambda body: _method(_function(body)).method,
    "a callable object": lambda body: _method(_function(body), "__call__"),
}

ASYNC: dict[str, Callable[[Body], Body]] = {
    "a coroutine function": _coroutine_function,
    "a partial of a coroutine function": lambda body: partial(partial(_coroutine_function(body))),
    "a partial of an async callable object": lambda body: partial(_async_callable(body)),
    "an async method": lambda body: _method(_coroutine_function(body)).method,
    "an async callable object": _async_callable,
    "a marked wrapper": _marked,
}

HANDED_BACK: dict[str, Callable[[Body], Body]] = {
    "a function that hands back a coroutine": lambda body: _unmarked(_coroutine_function(body)),
}

KINDS = SYNC | ASYNC | HANDED_BACK


def make(kind: str, body: Body) -> Body:
    """A callable of that kind that calls `body` with what it is called with."""
    return KINDS[kind](body)


def any_kind(among: dict[str, Any] = KINDS) -> st.SearchStrategy[str]:
    """The name of a kind."""
    return st.sampled_from(list(among))
