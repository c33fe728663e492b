"""A minimal ASGI framework whose `BackgroundTasks` can be read, proven and used."""

from minibg.applications import Middleware, MiniBG
from minibg.background import BackgroundTask, BackgroundTasks, FailFastTasks
from minibg.dependencies import Depends
from minibg.exceptions import HTTPException
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
from minibg.sse import EventSourceResponse, ServerSentEvent
from minibg.websockets import InvalidMessage, WebSocket, WebSocketDisconnect

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
    "WebSocketRoute",
]
