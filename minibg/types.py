"""ASGI's types, by ASGI's names.

What may live here: names for types, and nothing that runs.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
"""Given the application, the context that is entered at startup and left at shutdown."""


class Background(Protocol):
    """What can be the `background` of a response: any async callable without arguments."""

    def __call__(self) -> Awaitable[Any]: ...
