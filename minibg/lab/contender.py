"""One contender of the lab: `python -m minibg.lab.contender NAME COMPOSITION [--step]`.

It serves the composed request on a real uvicorn, on a free port of the loopback interface, and
tells on stdout what happens, an event a line. Those who compete are minibg, the versions of the
walkthrough, Starlette and FastAPI. The tasks of all are the same functions, which tell themselves
when they begin and end; nothing of a contender's is changed.

What may live here: a contender's application, and what is told of it. Who starts it, asks it and
stops it is `experiment.py`.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from itertools import count
from pkgutil import iter_modules
from typing import Annotated, Any

import anyio
import msgspec
import uvicorn

from minibg.examples import versions
from minibg.lab.composition import RequestSpec, TaskSpec
from minibg.lab.recorder import current_place
from minibg.lab.stepping import Stepper
from minibg.types import ASGIApp, Message, Receive, Scope, Send

PIECES = 3
"""Of a streamed answer."""
PAUSE = 0.1
"""Seconds between its pieces."""


def lane() -> str:
    """Where the caller runs, by the name of its lane."""
    place = current_place()
    return "loop" if place == "event loop" else place


is_telling = threading.Event()
"""Set when the visitor's request is about to come: what is before is none of it."""


def tell(event: str, /, **fields: Any) -> None:
    """Write one event. A single write of less than a page is whole, whoever writes beside it."""
    if not is_telling.is_set():
        return
    line = json.dumps({"event": event, "t": time.perf_counter(), **fields}) + "\n"
    os.write(sys.stdout.fileno(), line.encode())


class Bar:
    """Something that happens for a while: told when it begins and ends."""

    numbers = count()

    def __init__(self, what: str, kind: str, task: str | None = None) -> None:
        self.id = next(self.numbers)
        self.fields = {"what": what, "kind": kind, "task": task}

    def __enter__(self) -> None:
        tell("begin", id=self.id, lane=lane(), **self.fields)

    def __exit__(self, cls: type[BaseException] | None, exc: object, traceback: object) -> None:
        how = "ended"
        if cls is not None:
            is_cut_off = issubclass(cls, asyncio.CancelledError | GeneratorExit)
            how = "cut off" if is_cut_off else "failed"
        tell("finish", id=self.id, how=how, detail=cls.__name__ if cls else "")


class Work:
    """The tasks of one request: functions without arguments, which any contender can call."""

    def __init__(self, spec: RequestSpec) -> None:
        self.spec = spec
        self.run: asyncio.Task[Any] | None = None
        self.add_task: Callable[[Callable[[], Any]], object] = lambda func: None

    def add_all(self, add_task: Callable[[Callable[[], Any]], object]) -> None:
        """Add all tasks to a list, by its `add_task`."""
        self.run, self.add_task = asyncio.current_task(), add_task
        for number, task in enumerate(self.spec.tasks, 1):
            add_task(self.function(str(number), task))

    def function(self, label: str, task: TaskSpec) -> Callable[[], Any]:
        """The function of that task."""
        bar = partial(Bar, f"task {label}: {task.said}", "task", label)
        seconds = task.ms / 1000

        def sync_task() -> Any:
            with bar():
                time.sleep(seconds)
                if task.does == "hands back":
                    return self.handed_back(label)
                if task.does == "cancels" and self.run is not None:
                    anyio.from_thread.run_sync(self.run.cancel)
                return self.end(label, task)

        async def async_task() -> None:
            with bar():
                if task.does == "blocks":
                    time.sleep(seconds)  # noqa: ASYNC251  # that is what it shows
                else:
                    await asyncio.sleep(seconds)
                if task.does == "cancels" and self.run is not None:
                    self.run.cancel()
                    await asyncio.sleep(0)
                self.end(label, task)

        func = sync_task if task.kind == "sync" else async_task
        func.__name__ = func.__qualname__ = f"task_{label.replace('.', '_')}"
        return func

    def end(self, label: str, task: TaskSpec) -> None:
        """What a task does in the end."""
        if task.does == "fails":
            raise ValueError(f"task {label} fails")
        if task.does == "exits":
            sys.exit(3)
        if task.does == "adds":
            self.add_task(self.function(f"{label}.1", TaskSpec(task.kind, 50)))

    async def handed_back(self, label: str) -> None:
        """What a sync task hands back to be awaited."""
        with Bar(f"what task {label} handed back", "task", f"{label} handed back"):
            await asyncio.sleep(0.05)


async def pieces() -> AsyncIterator[bytes]:
    """The body of a streamed answer."""
    for number in range(PIECES):
        if number:
            await asyncio.sleep(PAUSE)
        yield b"piece %d\n" % number


async def dependency_of(work: Work) -> AsyncIterator[None]:
    """A `yield` dependency, as that of a database session."""
    with Bar("yield dependency is open", "dependency"):
        yield
        if work.spec.dependency == "fails closing":
            raise OSError("the dependency cannot be closed")


def minibg_app(spec: RequestSpec) -> ASGIApp:
    from minibg import BackgroundTasks, Depends, FailFastTasks, MiniBG, StreamingResponse

    app = MiniBG()

    async def session() -> AsyncIterator[None]:
        async for item in dependency_of(Work(spec)):
            yield item

    async def endpoint(tasks: BackgroundTasks) -> Any:
        with Bar("endpoint", "endpoint"):
            Work(spec).add_all(tasks.add_task)
            if spec.endpoint == "raises":
                raise ValueError("the endpoint raises")
        return StreamingResponse(pieces()) if spec.endpoint == "streams" else {"accepted": True}

    annotations: dict[str, Any] = {
        "tasks": FailFastTasks if spec.fail_fast else BackgroundTasks,
        "return": Any,
    }
    return _with_session(app, endpoint, annotations, session, spec, Depends)


def fastapi_app(spec: RequestSpec) -> ASGIApp:
    from fastapi import BackgroundTasks, Depends, FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    async def session() -> AsyncIterator[None]:
        async for item in dependency_of(Work(spec)):
            yield item

    async def endpoint(tasks: BackgroundTasks) -> Any:
        with Bar("endpoint", "endpoint"):
            Work(spec).add_all(tasks.add_task)
            if spec.endpoint == "raises":
                raise ValueError("the endpoint raises")
        return StreamingResponse(pieces()) if spec.endpoint == "streams" else {"accepted": True}

    return _with_session(app, endpoint, {"tasks": BackgroundTasks}, session, spec, Depends)


def _with_session(
    app: Any,
    endpoint: Callable[..., Any],
    annotations: dict[str, Any],
    session: Callable[[], AsyncIterator[None]],
    spec: RequestSpec,
    depends: Callable[[Any], Any],
) -> ASGIApp:
    """The application with that endpoint, which may have a `yield` dependency."""
    if spec.dependency != "none":
        without = endpoint

        async def endpoint(tasks: Any, session: Any) -> Any:
            return await without(tasks)

        annotations["session"] = Annotated[Any, depends(session)]
    endpoint.__annotations__ = annotations
    app.get("/")(endpoint)
    served: ASGIApp = app
    return served


def starlette_app(spec: RequestSpec) -> ASGIApp:
    from starlette.applications import Starlette
    from starlette.background import BackgroundTasks
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def endpoint(request: Any) -> Any:
        tasks = BackgroundTasks()
        with Bar("endpoint", "endpoint"):
            Work(spec).add_all(tasks.add_task)
            if spec.endpoint == "raises":
                raise ValueError("the endpoint raises")
        if spec.endpoint == "streams":
            return StreamingResponse(pieces(), background=tasks)
        return JSONResponse({"accepted": True}, background=tasks)

    return Starlette(routes=[Route("/", endpoint)])


def version_app(name: str, spec: RequestSpec) -> ASGIApp:
    """A version of the walkthrough: its list, and the four steps of version 1 around it."""
    version = import_module(f"{versions.__name__}.{VERSIONS[name]}")
    head = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not hasattr(version, "BackgroundTasks"):  # version 0 has no list: its work is fixed
            waiting: list[Callable[[], Any]] = []
            tasks: Any = None
            add_task: Callable[[Callable[[], Any]], object] = waiting.append
        else:
            tasks = version.BackgroundTasks()
            add_task = tasks.add_task
        with Bar("endpoint", "endpoint"):
            Work(spec).add_all(add_task)
            if spec.endpoint == "raises":
                raise ValueError("the endpoint raises")
        await send(head)
        if spec.endpoint == "streams":
            async for piece in pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        if tasks is not None:
            await tasks()
        else:
            for task in waiting:
                await task()

    return app


def _versions() -> dict[str, str]:
    names = [name for _, name, _ in iter_modules(versions.__path__)]
    return {name.partition("_")[0]: name for name in sorted(names, key=_number)}


def _number(name: str) -> int:
    return int(name.partition("_")[0].removeprefix("v"))


VERSIONS = _versions()
"""The walkthrough's versions by their short names, v0 and so on, and the modules."""

APPS: dict[str, Callable[[RequestSpec], ASGIApp]] = {
    "minibg": minibg_app,
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    **{name: partial(version_app, name) for name in VERSIONS},
}


class Recorded:
    """ASGI middleware that tells of a request's messages, and when the application has returned."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def receive_and_tell() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                tell("mark", lane="loop", what="http.disconnect", detail="")
            return message

        async def send_and_tell(message: Message) -> None:
            await send(message)
            detail = str(message.get("status", ""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                detail = "the last byte is taken"
            tell("mark", lane="loop", what=message["type"], detail=detail)

        tell("mark", lane="loop", what="request received", detail="")
        try:
            await self.app(scope, receive_and_tell, send_and_tell)
        except BaseException as exc:
            tell("mark", lane="loop", what="the server gets", detail=type(exc).__name__)
            raise
        finally:
            tell("quiet")


class Told(logging.Handler):
    """Tells what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            message += f": {record.exc_info[1]!r}"
        tell("log", level=record.levelname, logger=record.name, message=message[:500])


def end_with_parent() -> None:
    """End when the process that started this one has: then its end of stdin is closed."""
    sys.stdin.buffer.read()
    os._exit(0)


WARM_UP = RequestSpec((TaskSpec("async", 0), TaskSpec("sync", 0)))


async def warm_up(name: str) -> None:
    """Serve a request of nobody's, so that no import and no new thread is taken for slowness."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None: ...

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"lab")],
        "server": ("127.0.0.1", 0),
        "client": ("127.0.0.1", 0),
    }
    with suppress(TypeError):  # version 1 and 2 await what a sync function returns
        await APPS[name](WARM_UP)(scope, receive, send)


class Server(uvicorn.Server):
    """Tells its port when it is ready."""

    def __init__(self, config: uvicorn.Config, name: str) -> None:
        super().__init__(config)
        self.name = name

    async def startup(self, sockets: Any = None) -> None:
        """Start as uvicorn does."""
        await super().startup(sockets)
        await warm_up(self.name)
        is_telling.set()
        tell("ready", port=self.servers[0].sockets[0].getsockname()[1])


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=APPS)
    parser.add_argument("composition")
    parser.add_argument("--step", action="store_true")
    options = parser.parse_args()
    spec = msgspec.json.decode(options.composition, type=RequestSpec)
    threading.Thread(target=end_with_parent, daemon=True).start()
    app = APPS[options.name](spec)
    logging.basicConfig(level=logging.WARNING, handlers=[Told()])
    with ExitStack() as stack:
        if options.step:
            stack.enter_context(Stepper(options.name, tell))
        config = uvicorn.Config(
            Recorded(app), host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none"
        )
        Server(config, options.name).run()


if __name__ == "__main__":
    main()
