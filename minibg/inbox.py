"""The messages that a server has for one request: the body, and that the client has gone.

A server reports that the client has gone only after the body, so whoever waits for the report must
take in the body first. An inbox does that for them, and keeps the body for its reader.

What may live here: receiving. What the messages mean is the business of `requests.py`.
"""

import sys
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from anyio import CancelScope, Event, move_on_after
from anyio.lowlevel import checkpoint

from minibg.types import Message, Receive

MAX_UNREAD = 16 * 1024 * 1024
"""How many bytes of a body are kept for its reader, while others listen for the disconnect."""

A_MOMENT = 0.01
"""For how many seconds the server is asked, the first time, whether the client has gone."""


class Inbox:
    """The messages of one request, for several readers at a time.

    One reads the body, with `receive`. Others wait until the client goes away, or ask whether it
    has. A server tells that only after the body. So for them a task of the inbox listens: it
    takes in message after message, and keeps the body for its reader, up to `room` bytes and one
    piece more. A `receive` that it has begun is never cancelled, as granian and Starlette's
    `BaseHTTPMiddleware` would lose what comes at that moment.

    ============ ====================== ============= ===========================================
    the body     since                  its pieces    when more than `room` bytes are kept
    ============ ====================== ============= ===========================================
    is expected  the beginning          are kept      it is discarded, if it exceeds its limit, or
                                                      somebody waits for the disconnect; else the
                                                      inbox listens no more until it is read
    is read      the first `receive`    are kept      the inbox listens no more until the reader
                                                      has taken them, who is the first to hear
    is discarded `discard`, or as above are forgotten (no more than `room` are)
    ============ ====================== ============= ===========================================

    Args:
        receive: That of the server.
        limit: How many bytes the body may have; a larger one is refused to its reader anyway.
            `room` is that, or `MAX_UNREAD` where that is less.
    """

    is_read = False
    is_discarded = False
    has_begun = False  # to come in
    more_body = True
    is_disconnected = False
    _is_listening = False
    _listening: CancelScope  # of the task that listens, or has listened last
    _is_read_directly = False  # by the reader, while the listener waits
    _waiting = 0  # the number of tasks that wait for the disconnect
    _kept: bytearray | None = None  # None if all that came was read
    _failure: Exception | None = None  # what `receive` raised while the inbox listened
    _change: Event | None = None  # for those who wait for anything new

    def __init__(self, receive: Receive, limit: int | None) -> None:
        self._receive = receive
        self.limit = limit

    @property
    def room(self) -> int:
        """How many bytes of the body are kept."""
        return MAX_UNREAD if self.limit is None else min(self.limit, MAX_UNREAD)

    async def receive(self) -> Message:
        """Wait for the next message, a piece of the body or the disconnect."""
        self.is_read = True
        while self._is_listening and self._kept is None:
            await self._changed()
        if self._kept is not None:
            body, self._kept = bytes(self._kept), None
            self._announce()
            return {"type": "http.request", "body": body, "more_body": self.more_body}
        if self.is_disconnected:
            return {"type": "http.disconnect"}
        self._is_read_directly = True
        try:
            message = await self._receive()
            self._note(message)
        finally:
            self._is_read_directly = False
            if self._change is not None:
                self._announce()
        return message

    async def receive_disconnect(self) -> Message:
        """Wait for the disconnect. Errors of the server's `receive` are raised."""
        self._waiting += 1
        try:
            while not self.is_disconnected:
                self._listen()
                await self._changed()
        finally:
            self._waiting -= 1
        return {"type": "http.disconnect"}

    async def poll(self) -> None:
        """Take in the messages that the server has by now. Errors of its `receive` are raised."""
        if not self._listen():
            await checkpoint()
            return
        with move_on_after(A_MOMENT):
            while self._is_listening:
                await self._changed()

    def discard(self) -> None:
        """Forget the body, since nobody will read it."""
        self.is_discarded, self._kept = True, None
        self._announce()

    async def drain(self, pause: float, deadline: float) -> bool:
        """Wait for the body's end or the disconnect, and return whether either has come.

        Args:
            pause: For how many seconds the client may send nothing.
            deadline: When to give the client up, as if it had gone, by the clock of the event
                loop.
        """
        with CancelScope(deadline=deadline) as all_the_time:
            while self.more_body and not self.is_disconnected:
                with move_on_after(pause) as silence:
                    self._listen()
                    await self._changed()
                if silence.cancelled_caught:
                    return False
        if all_the_time.cancelled_caught:
            self.is_disconnected = True
        return True

    def _listen(self) -> bool:
        """Begin to take messages in, if that is possible and not happening already."""
        if self._is_listening or self.is_disconnected or not self._has_room():
            return False
        self._is_listening, self._listening = True, CancelScope()
        start_apart(self._take_in)
        return True

    def close(self) -> None:
        """Listen no more, as the request is over: some servers would never say anything again."""
        if self._is_listening:
            self._listening.cancel()

    async def _take_in(self) -> None:
        with self._listening:
            try:
                while self._is_read_directly:
                    await self._changed()
                while not self.is_disconnected and self._has_room():
                    self._keep(await self._receive())
                    await checkpoint()  # there may be no end to the messages at hand
            except Exception as exc:  # noqa: BLE001  # raised where somebody waits
                self._failure = exc
            except BaseException:
                self.is_disconnected = True  # the loop ends
                raise
            finally:
                self._is_listening = False
                self._announce()

    def _keep(self, message: Message) -> None:
        self._note(message)
        if message["type"] == "http.request" and not self.is_discarded:
            self._kept = self._kept or bytearray()
            self._kept += message.get("body", b"")
        self._announce()

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.is_disconnected = True
        else:
            self.has_begun = True
            self.more_body = message.get("more_body", False)

    def _has_room(self) -> bool:
        size = len(self._kept or b"")
        if size <= self.room:
            return True
        is_too_large = self.limit is not None and size > self.limit
        if self.is_read or not (is_too_large or self._waiting):
            return False
        self.discard()
        return True

    async def _changed(self) -> None:
        self._change = self._change or Event()
        await self._change.wait()
        await checkpoint()  # asyncio hears of a cancellation here, if changes come without a pause
        if self._failure is not None:
            raise self._failure

    def _announce(self) -> None:
        if self._change is not None:
            self._change.set()
            self._change = None


_apart: set[Any] = set()


def start_apart(func: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start an async function, which may not raise, as a task that is in no group.

    It ends when it is done, at the latest with the event loop.
    """
    try:
        loop = sys.modules["asyncio"].get_running_loop()
    except (KeyError, RuntimeError):  # another loop runs
        sys.modules["trio"].lowlevel.spawn_system_task(func, context=copy_context())
    else:
        task = loop.create_task(func())
        _apart.add(task)  # the event loop does not keep it alive
        task.add_done_callback(_apart.discard)
