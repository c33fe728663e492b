"""Forms: their fields and files, parsed by the library python-multipart.

A small form is parsed on the event loop, at once. A larger one is parsed in a thread, in pieces
that are worth the hop. Parsers, of JSON too, have threads of their own, since slow endpoints may
hold all of theirs.

Rule kept here: **release**, as far as it concerns uploads: once closed, a file says so.

What may live here: what a form is made of, its limits, which text its bytes stand for, and what the
library's errors mean to a client.
"""

from collections.abc import AsyncIterable, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, suppress
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from anyio import CancelScope, CapacityLimiter
from anyio.lowlevel import RunVar

from minibg.concurrency import run_in_extra_thread, run_in_threadpool
from minibg.datastructures import Headers, MultiDict, RawHeaders, parse_urlencoded
from minibg.exceptions import BadRequest

T = TypeVar("T")

MAX_LENGTH_ON_THE_LOOP = 32 * 1024
"""How many bytes of a body are parsed on the event loop: a few milliseconds of work. A larger body
goes to a thread, a form in pieces of at least that size."""

MAX_MEMORY_FILE_SIZE = 1024 * 1024
"""How many bytes of an uploaded file are kept in memory; a larger one goes to the disk."""

CHARSETS = {*aliases, *aliases.values(), "koi8_u"} - {"u7", "utf7", "utf_7", "unicode_1_1_utf_7"}
"""The character sets that a client may name. Python's own codecs (punycode, for example) are slow,
UTF-7 can yield lone surrogates, and Python keeps each unknown name that it looks up for ever."""

_controls = (*range(0x20), *range(0x7F, 0xA0))  # category Cc
_bidi_controls = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_unwanted = dict.fromkeys(_controls + _bidi_controls)
_threads: RunVar[CapacityLimiter] = RunVar("minibg parser threads")


class UploadFile:
    """A file that came in a form. Above 1 MiB it stands on the disk, until the request is released.

    Args:
        file: Its content, as a file that is open for reading and writing.
        size: Its length in bytes, where that is known.
        filename: Its name, without a directory and without control characters.
        headers: The headers of its part of the form.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int | None = None,
        filename: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.file = file
        self.size = size
        self.filename = filename
        self.headers = Headers([]) if headers is None else headers

    @property
    def content_type(self) -> str | None:
        """Its type as the client says."""
        return self.headers.get("content-type")

    async def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all that is left."""
        data: bytes = await self._call("read", size)
        return data

    async def write(self, data: bytes) -> None:
        """Write where reading stands."""
        await self._call("write", data, growth=len(data))
        if self.size is not None:
            self.size = max(self.size, self.file.tell())

    async def seek(self, offset: int) -> None:
        """Continue reading at the byte."""
        await self._call("seek", offset)

    async def close(self) -> None:
        """Close the file, and remove it if it stands on the disk."""
        try:
            if not self._is_in_memory():
                await run_in_extra_thread(self.file.close)
        finally:  # asyncio's own cancellation may have kept it from the thread
            self.file.close()

    def _is_in_memory(self, growth: int = 0) -> bool:
        file: Any = self.file
        on_disk = getattr(file, "_rolled", True)  # of a `SpooledTemporaryFile`
        return file.closed or (not on_disk and file.tell() + growth <= MAX_MEMORY_FILE_SIZE)

    async def _call(self, method: str, argument: Any, growth: int = 0) -> Any:
        if self.file.closed:
            raise ValueError(
                "the upload was closed when its request was released; read it in the endpoint, and "
                "give its content to the task"
            )
        func = getattr(self.file, method)
        if self._is_in_memory(growth):
            return func(argument)
        return await run_in_threadpool(func, argument)


class FormData(MultiDict[str | UploadFile]):
    """The fields and the files of a form."""

    async def close(self) -> None:
        """Close all files, even if closing one of them fails; the failure is raised afterwards."""
        async with AsyncExitStack() as stack:
            for _, value in self._items:
                if isinstance(value, UploadFile):
                    stack.push_async_callback(value.close)


class FormReading:
    """A form that is read when this is awaited, or entered with `async with`, which closes it."""

    def __init__(self, reading: Coroutine[Any, Any, FormData]) -> None:
        self._reading = reading

    def __await__(self) -> Generator[Any, Any, FormData]:
        return self._reading.__await__()

    async def __aenter__(self) -> FormData:
        self._form = await self._reading
        return self._form

    async def __aexit__(self, *exc_info: object) -> None:
        await self._form.close()


def plain_filename(name: str) -> str:
    """The file's own name: without any directory, control character, or change of direction."""
    name = name.replace("\\", "/").rpartition("/")[2].translate(_unwanted)
    return "" if name in (".", "..") else name


def decode(data: bytes | bytearray, charset: str) -> str:
    """The text that was encoded with that character set, or else with UTF-8, or with Latin-1."""
    for name in (normalize_encoding(charset).lower(), "utf_8"):
        if name in CHARSETS:
            with suppress(UnicodeError, LookupError):  # Python has codecs that give no text
                return data.decode(name)
    return data.decode("latin-1")


def decode_words(data: bytes, charset: str) -> str:
    """`decode`, and what .NET sends for a name that is not ASCII: encoded words (RFC 2047)."""
    if data.startswith(b"=?") and data.endswith(b"?="):
        from email.errors import MessageError  # noqa: PLC0415  # seldom used, slow to import
        from email.header import decode_header  # noqa: PLC0415  # likewise

        with suppress(MessageError):
            words = decode_header(data.decode("latin-1"))
            return "".join(w if isinstance(w, str) else decode(w, c or charset) for w, c in words)
    return decode(data, charset)


class Limits(NamedTuple):
    """How many files a form may have, how many fields besides, and how many bytes each of those."""

    files: int
    fields: int
    bytes: int

    def check(self, what: str, number: int) -> None:
        """Raise a `ValueError` if a limit is exceeded."""
        limit = getattr(self, what)
        if number > limit:
            whose = "a field" if what == "bytes" else "it"
            raise ValueError(f"{whose} has more than {limit} {what}")


class Part:
    """A part of a form: its headers, and then the bytes of a field, or a file."""

    def __init__(self) -> None:
        self.headers: RawHeaders = []
        self.options: dict[bytes, bytes] = {}
        self.data = bytearray()
        self.file: UploadFile | None = None

    def begin(self) -> None:
        """Read the headers: what follows is the content."""
        header = Headers(self.headers).get("content-disposition", "")
        _, extended = parse_options(header.replace("*=", "_="))  # the library leaves "*" out
        _, options = parse_options(header)
        self.options = extended | options
        if self.options.keys().isdisjoint((b"name", b"name_")):
            raise ValueError("a part of it has no name")
        if not self.options.keys().isdisjoint((b"filename", b"filename_")):
            from tempfile import SpooledTemporaryFile  # noqa: PLC0415  # slow to import

            file: Any = SpooledTemporaryFile(MAX_MEMORY_FILE_SIZE)  # noqa: SIM115  # by release
            self.file = UploadFile(file, headers=Headers(self.headers))

    def item(self, charset: str) -> tuple[str, str | UploadFile]:
        """Its name and its content, with a charset for text if the part does not declare one."""
        name = self._option(b"name", charset)
        if self.file is None:
            _, options = parse_options(Headers(self.headers).get("content-type", ""))
            own = options.get(b"charset", b"").decode("latin-1")
            return name, decode(self.data, own or charset)
        self.file.filename = plain_filename(self._option(b"filename", charset))
        self.file.size = self.file.file.tell()
        self.file.file.seek(0)
        return name, self.file

    def _option(self, key: bytes, charset: str) -> str:
        """The text of an option, or of the extended one: `charset'language'text` (RFC 8187).

        RFC 7578, section 4.2, forbids that in forms, so it counts only where it stands alone.
        """
        if key in self.options:
            return decode_words(self.options[key], charset)
        named, _, value = [b"", b"", *self.options[key + b"_"].split(b"'", 2)][-3:]
        return decode(unquote_to_bytes(value), named.decode("latin-1"))


class Multipart:
    """The callbacks of a `multipart/form-data` parser; in the end, `form` is its result.

    A file stands in `parts` from its first byte, so that it is closed whatever comes after.
    """

    form: FormData | None = None
    header = value = b""

    def __init__(self, charset: str, limits: Limits) -> None:
        self.charset = charset
        self.limits = limits
        self.counts = {"files": 0, "fields": 0}
        self.parts: list[Part] = []

    def on_part_begin(self) -> None:
        self.parts.append(Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers.append((self.header.lower(), self.value))
        self.header, self.value = b"", b""

    def on_headers_finished(self) -> None:
        self.parts[-1].begin()
        kind = "fields" if self.parts[-1].file is None else "files"
        self.counts[kind] += 1
        self.limits.check(kind, self.counts[kind])

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        if part.file is not None:
            part.file.file.write(data[start:end])
            return
        part.data += data[start:end]
        self.limits.check("bytes", len(part.data))

    def on_end(self) -> None:
        for part in self.parts:
            if part.options.get(b"name") == b"_charset_":  # RFC 7578, section 4.6
                self.charset = part.data.decode("latin-1")
        self.form = FormData([part.item(self.charset) for part in self.parts])

    async def close(self) -> None:
        """Close the files, even if the form was never completed."""
        await FormData(("", part.file) for part in self.parts if part.file is not None).close()


def parse_options(header: str) -> tuple[str, dict[bytes, bytes]]:
    """A header's value, in lower case, and the options that follow it.

    Raises:
        ValueError: If there are more options than an honest client has.
        RuntimeError: If python-multipart is not installed.
    """
    if header.count(";") > 99:  # each takes a microsecond, and a header may hold 64,000
        raise ValueError("a header has more than 99 options")
    try:
        from python_multipart.multipart import parse_options_header  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as exc:
        raise RuntimeError("forms need python-multipart: pip install 'minibg[standard]'") from exc
    value, options = parse_options_header(header)
    return value.decode("latin-1"), options


async def parse_form(content_type: str, stream: AsyncIterable[bytes], limits: Limits) -> FormData:
    """Parse a form as its body comes in, for `Request.form`, which explains the limits.

    Another type of body gives an empty form.

    Raises:
        BadRequest: If it is malformed, or larger than it may be.
        RuntimeError: If python-multipart is not installed.
    """
    try:
        kind, options = parse_options(content_type)
        if kind == "application/x-www-form-urlencoded":
            body = BytesIO()
            async for chunk in stream:
                body.write(chunk)
            in_thread = body.tell() > MAX_LENGTH_ON_THE_LOOP
            call = partial(_parse_urlencoded, body.getvalue(), limits)
            return await run_parser(call, in_thread)
        if kind == "multipart/form-data":
            charset = options.get(b"charset", b"").decode("latin-1")
            parts = Multipart(charset, limits)
            return await _parse_multipart(options.get(b"boundary", b""), stream, parts)
        return FormData()
    except ValueError as exc:
        raise BadRequest(f"the form cannot be read: {exc}") from exc


async def run_parser(call: Callable[[], T], in_thread: bool) -> T:
    """Call a parser at once, or in one of the parsers' threads."""
    if not in_thread:
        return call()
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = CapacityLimiter(8)
        _threads.set(limiter)
    async with limiter:
        return await run_in_extra_thread(call)


def _parse_urlencoded(body: bytes, limits: Limits) -> FormData:
    limits.check("fields", body.count(b"&") + 1)
    for field in body.split(b"&"):
        limits.check("bytes", len(field) - (b"=" in field))
    return FormData(parse_urlencoded(body))


async def _parse_multipart(
    boundary: bytes, stream: AsyncIterable[bytes], parts: Multipart
) -> FormData:
    from python_multipart import MultipartParser  # noqa: PLC0415  # comes with an extra

    if not boundary:
        raise ValueError("its content type names no boundary")
    callbacks: Any = {name: getattr(parts, name) for name in dir(parts) if name.startswith("on_")}
    parser = MultipartParser(boundary, callbacks)
    try:
        pending, is_large = bytearray(), False
        async for chunk in stream:
            pending += chunk
            if len(pending) > MAX_LENGTH_ON_THE_LOOP:
                is_large = True
                await run_parser(partial(parser.write, bytes(pending)), is_large)
                pending.clear()
        await run_parser(partial(parser.write, bytes(pending)), is_large)
        if parts.form is None:
            raise ValueError("it ends before its last boundary")
    except BaseException:
        with CancelScope(shield=True):
            await parts.close()
        raise
    return parts.form
