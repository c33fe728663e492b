"""A minimal ASGI framework whose `BackgroundTasks` can be read, proven and used."""

from minibg.applications import Middleware, MiniBG
from minibg.background import BackgroundTask, BackgroundTasks, FailFastTasks
from minibg.exceptions import HTTPException
from minibg.requests import ClientDisconnect, InvalidJSON, Request
from minibg.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from minibg.routing import Route

__all__ = [
    "BackgroundTask",
    "BackgroundTasks",
    "ClientDisconnect",
    "FailFastTasks",
    "HTMLResponse",
    "HTTPException",
    "InvalidJSON",
    "JSONResponse",
    "Middleware",
    "MiniBG",
    "PlainTextResponse",
    "RedirectResponse",
    "Request",
    "Response",
    "Route",
    "StreamingResponse",
]
