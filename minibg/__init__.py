"""A minimal ASGI framework whose `BackgroundTasks` can be read, proven and used."""

from typing import TYPE_CHECKING, Any

from minibg.applications import Middleware, MiniBG
from minibg.background import BackgroundTask, BackgroundTasks, FailFastTasks
from minibg.dependencies import Depends
from minibg.exceptions import HTTPException, WebSocketException
from minibg.formparsers import UploadFile
from minibg.requests import ClientDisconnect, InvalidJSON, Request
from minibg.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from minibg.routing import Route, WebSocketRoute
from minibg.websockets import InvalidMessage, WebSocket, WebSocketDisconnect

if TYPE_CHECKING:
    from minibg.ext.sse import EventSourceResponse, ServerSentEvent

__all__ = [
    "BackgroundTask",
    "BackgroundTasks",
    "ClientDisconnect",
    "Depends",
    "EventSourceResponse",
    "FailFastTasks",
    "HTMLResponse",
    "HTTPException",
    "InvalidJSON",
    "InvalidMessage",
    "JSONResponse",
    "Middleware",
    "MiniBG",
    "PlainTextResponse",
    "RedirectResponse",
    "Request",
    "Response",
    "Route",
    "ServerSentEvent",
    "StreamingResponse",
    "UploadFile",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketRoute",
]


def __getattr__(name: str) -> Any:
    """Import `minibg.ext.sse` only when one of its names is asked for (PEP 562)."""
    if name not in ("EventSourceResponse", "ServerSentEvent"):
        raise AttributeError(f"module 'minibg' has no attribute {name!r}")
    from minibg.ext import sse  # noqa: PLC0415  # `import minibg` imports no extension

    return getattr(sse, name)
