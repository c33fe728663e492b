"""Forms: their fields and files, parsed by the library python-multipart.

Rule kept here: **release**, as far as it concerns uploads: once closed, a file says so.

What may live here: what a form is made of, its limits, and what the library's errors mean to a
client.
"""

from collections.abc import AsyncIterable
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any, BinaryIO

from anyio import CancelScope

from minibg.concurrency import run_in_extra_thread, run_in_threadpool
from minibg.datastructures import MultiDict, parse_urlencoded
from minibg.exceptions import HTTPException

MAX_LENGTH_ON_THE_LOOP = 64 * 1024
"""How many characters of an urlencoded form are parsed on the event loop; more take a thread."""

MAX_MEMORY_FILE_SIZE = 1024 * 1024
"""How many bytes of an uploaded file are kept in memory; a larger one goes to the disk."""


class UploadFile:
    """A file that came in a form. Above 1 MiB it stands on the disk, until the request is released.

    Args:
        file: Its content, as a file that is open for reading.
        filename: Its name, without a directory and without control characters.
        size: Its length in bytes.
        content_type: Its type as the client says.
    """

    def __init__(
        self, file: BinaryIO, filename: str, size: int, content_type: str | None = None
    ) -> None:
        self.file = file
        self.filename = filename
        self.size = size
        self.content_type = content_type

    async def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all that is left."""
        return await run_in_threadpool(self._open_file().read, size)

    async def seek(self, offset: int) -> None:
        """Go on reading at that byte."""
        await run_in_threadpool(self._open_file().seek, offset)

    async def close(self) -> None:
        """Close the file, and remove it where it stands on the disk."""
        await run_in_extra_thread(self.file.close)

    def _open_file(self) -> BinaryIO:
        if self.file.closed:
            raise ValueError(
                "the upload was closed when its request was released; read it in the endpoint, and "
                "give its content to the task"
            )
        return self.file


class FormData(MultiDict[str | UploadFile]):
    """The fields and the files of a form."""

    async def close(self) -> None:
        """Close the files, also where to close one of them fails; that is raised afterwards."""
        async with AsyncExitStack() as stack:
            for _, value in self._items:
                if isinstance(value, UploadFile):
                    stack.push_async_callback(value.close)


def plain_filename(name: str) -> str:
    """The file's own name: without any directory, and without what is no printable character."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if character.isprintable())
    return "" if name in (".", "..") else name


class TooLargeError(ValueError):
    """A form exceeds one of its limits."""


class Multipart:
    """What a `multipart/form-data` parser calls as it goes; `items` are the fields and files.

    A file stands in `items` from its first byte, so that it is closed whatever comes after.
    """

    def __init__(self, max_fields: int, max_field_size: int) -> None:
        self.max_fields = max_fields
        self.max_field_size = max_field_size
        self.items: list[tuple[str, str | UploadFile]] = []
        self.is_complete = False

    def on_part_begin(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.header, self.value, self.data = b"", b"", bytearray()
        if len(self.items) >= self.max_fields:
            raise TooLargeError(f"it has more than {self.max_fields} fields and files")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        self.headers[self.header.lower()] = self.value
        self.header, self.value = b"", b""

    def on_headers_finished(self) -> None:
        _, options = parse_options(self.headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise ValueError("a part of it has no name")
        self.name, self.file = options[b"name"].decode("utf-8", "replace"), None
        if b"filename" in options:
            from tempfile import SpooledTemporaryFile  # noqa: PLC0415  # slow to import

            filename = plain_filename(options[b"filename"].decode("utf-8", "replace"))
            content_type = self.headers.get(b"content-type", b"").decode("latin-1") or None
            file: Any = SpooledTemporaryFile(MAX_MEMORY_FILE_SIZE)  # noqa: SIM115  # by release
            self.file = UploadFile(file, filename, 0, content_type)
            self.items.append((self.name, self.file))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.file is not None:
            self.file.size += self.file.file.write(data[start:end])
            return
        self.data += data[start:end]
        if len(self.data) > self.max_field_size:
            raise TooLargeError(f"a field has more than {self.max_field_size} bytes")

    def on_part_end(self) -> None:
        if self.file is None:
            self.items.append((self.name, self.data.decode("utf-8", "replace")))
        else:
            self.file.file.seek(0)

    def on_end(self) -> None:
        self.is_complete = True


def parse_options(header: str | bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """A header's value, and the options that follow it.

    Raises:
        RuntimeError: If python-multipart is not installed.
    """
    try:
        from python_multipart.multipart import parse_options_header  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as exc:
        raise RuntimeError("forms need python-multipart: pip install 'minibg[standard]'") from exc
    return parse_options_header(header)


async def parse_form(
    content_type: str, stream: AsyncIterable[bytes], max_fields: int, max_field_size: int
) -> FormData:
    """Parse a form as its body comes in. Another type of body gives an empty form.

    Args:
        content_type: The header of that name.
        stream: The body.
        max_fields: How many fields and files it may have.
        max_field_size: How many bytes of UTF-8 a field may have, decoded, that is no file.

    Raises:
        HTTPException: 400, if it is malformed, or larger than it may be.
        RuntimeError: If python-multipart is not installed.
    """
    kind, options = parse_options(content_type)
    try:
        if kind == b"application/x-www-form-urlencoded":
            body = BytesIO()
            async for chunk in stream:
                body.write(chunk)
            text, limits = body.getvalue().decode("latin-1"), (max_fields, max_field_size)
            if len(text) > MAX_LENGTH_ON_THE_LOOP:
                return await run_in_threadpool(_parse_urlencoded, text, *limits)
            return _parse_urlencoded(text, *limits)
        if kind == b"multipart/form-data":
            return await _parse_multipart(options, stream, Multipart(max_fields, max_field_size))
        return FormData()
    except ValueError as exc:
        raise HTTPException(400, f"the form cannot be read: {exc}") from exc


def _parse_urlencoded(text: str, max_fields: int, max_field_size: int) -> FormData:
    if text.count("&") >= max_fields:
        raise TooLargeError(f"it has more than {max_fields} fields")
    # Checked before, as decoding takes many times the memory: a byte is at most three characters.
    if any(len(field) > 6 * max_field_size + 1 for field in text.split("&")):
        raise TooLargeError(f"a field has more than {max_field_size} bytes")
    items = parse_urlencoded(text)
    if any(len(part.encode()) > max_field_size for item in items for part in item):
        raise TooLargeError(f"a field has more than {max_field_size} bytes")
    return FormData(items)


async def _parse_multipart(
    options: dict[bytes, bytes], stream: AsyncIterable[bytes], parts: Multipart
) -> FormData:
    from python_multipart import MultipartParser  # noqa: PLC0415  # comes with an extra

    if not options.get(b"boundary"):
        raise ValueError("its content type names no boundary")
    callbacks: Any = {name: getattr(parts, name) for name in dir(parts) if name.startswith("on_")}
    parser = MultipartParser(options[b"boundary"], callbacks)
    try:
        async for chunk in stream:
            await run_in_threadpool(parser.write, chunk)
        if not parts.is_complete:
            raise ValueError("it ends before its last boundary")
    except BaseException:
        with CancelScope(shield=True):
            await FormData(parts.items).close()
        raise
    return FormData(parts.items)
