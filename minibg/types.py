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
"""Returns, for an application, the context that is entered at startup and left at shutdown."""


class Background(Protocol):
    """Anything that can be a response's `background`: an async callable without arguments."""

    def __call__(self) -> Awaitable[Any]: ...
