"""An endpoint's signature, read once, when it is registered, and compiled into how to call it.

Rule kept here: **own list** (each request has its own list of every class that its endpoint asks
for by annotation).

What may live here: what a parameter means and where its value comes from. When the endpoint is
called, and what becomes of what it returns, is decided in `routing.py`.
"""

from collections.abc import Callable, Collection
from inspect import Parameter, signature
from typing import Any

import msgspec

from minibg.background import BackgroundTasks
from minibg.concurrency import is_async_callable, run_in_threadpool
from minibg.exceptions import HTTPException, name_of
from minibg.requests import Request

TaskLists = dict[type[BackgroundTasks], BackgroundTasks]
"""The task lists of one request: of each class one, in the order in which they were asked for."""

Source = Callable[[Request, TaskLists], Any]
"""Where the value of a parameter comes from."""


class Dependant:
    """A callable, and the plan by which a request finds its arguments.

    Args:
        call: The endpoint, sync or async.
        path_params: The names of the parameters in its path.

    Raises:
        TypeError: If a parameter cannot be served, or the path has one that the endpoint lacks.
    """

    def __init__(self, call: Callable[..., Any], path_params: Collection[str] = ()) -> None:
        self.call = call
        self.is_async = is_async_callable(call)
        try:
            parameters = signature(call, eval_str=True).parameters
        except (NameError, TypeError, ValueError) as exc:
            raise TypeError(f"the signature of {name_of(call)} cannot be read: {exc}") from exc
        for name in path_params:
            if name not in parameters:
                raise TypeError(f"{name_of(call)} has no parameter for {{{name}}} in its path")
        self.sources = {
            name: self._source(parameter, name in path_params)
            for name, parameter in parameters.items()
        }

    async def solve_and_call(self, request: Request, lists: TaskLists) -> Any:
        """Call the endpoint for this request, and return what it returns.

        The task lists that it is given stand in `lists` before it is called.

        Raises:
            HTTPException: 422, if a value does not fit its annotation.
        """
        arguments = {name: source(request, lists) for name, source in self.sources.items()}
        if self.is_async:
            return await self.call(**arguments)
        return await run_in_threadpool(self.call, **arguments)

    def _source(self, parameter: Parameter, in_path: bool) -> Source:
        annotation = parameter.annotation
        by_keyword = parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        if by_keyword and in_path and _fits_a_path(annotation):
            return _from_path(parameter.name, annotation)
        if by_keyword and isinstance(annotation, type):
            if issubclass(annotation, Request):
                return lambda request, lists: request
            if issubclass(annotation, BackgroundTasks):
                return _list_of(annotation)
        raise TypeError(
            f"{name_of(self.call)} asks for `{parameter}`, which nothing gives; it can have a "
            "parameter of its path by name, `request: Request`, and `tasks: BackgroundTasks` or "
            "a subclass of that"
        )


def _fits_a_path(annotation: Any) -> bool:
    if annotation is Parameter.empty:
        return True
    try:
        return not isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.CustomType)
    except TypeError:
        return False


def _list_of(cls: type[BackgroundTasks]) -> Source:
    def source(request: Request, lists: TaskLists) -> BackgroundTasks:
        if cls not in lists:
            lists[cls] = cls()
        return lists[cls]

    return source


def _from_path(name: str, annotation: Any) -> Source:
    def source(request: Request, lists: TaskLists) -> Any:
        value = request.path_params[name]
        try:
            return msgspec.convert(value, annotation, strict=False)
        except msgspec.ValidationError as exc:
            fault = {"loc": ["path", name], "msg": str(exc), "type": "value_error"}
            raise HTTPException(422, [fault]) from exc

    return source if annotation is not Parameter.empty else lambda r, _: r.path_params[name]
