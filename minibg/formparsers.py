"""Forms: their fields and files, parsed by the library python-multipart.

Rule kept here: **release**, as far as it concerns uploads: once closed, a file says so.

What may live here: what a form is made of, its limits, and what the library's errors mean to a
client.
"""

from collections.abc import AsyncIterable
from typing import Any, BinaryIO

from minibg.concurrency import run_in_extra_thread, run_in_threadpool
from minibg.datastructures import MultiDict
from minibg.exceptions import HTTPException

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
"""The types of body that are forms (RFC 7578; WHATWG URL, section 5)."""

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
                f"the upload {self.filename!r} was closed when its request was released; read it "
                "in the endpoint, and give its content to the task"
            )
        return self.file


class FormData(MultiDict[str | UploadFile]):
    """The fields and the files of a form."""

    async def close(self) -> None:
        """Close the files."""
        for _, value in self._items:
            if isinstance(value, UploadFile):
                await value.close()


def plain_filename(name: str) -> str:
    """The file's own name: without any directory, and without what is no printable character."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if character.isprintable())
    return "" if name in (".", "..") else name


async def parse_form(
    content_type: str, stream: AsyncIterable[bytes], max_fields: int, max_field_size: int
) -> FormData:
    """Parse a form as its body comes in. Another type of body gives an empty form.

    Args:
        content_type: The header of that name.
        stream: The body.
        max_fields: How many fields and files it may have.
        max_field_size: How many bytes a field may have that is no file.

    Raises:
        HTTPException: 400, if it is malformed, or larger than it may be.
        RuntimeError: If python-multipart is not installed.
    """
    try:
        from python_multipart import FormParser  # noqa: PLC0415  # comes with an extra
        from python_multipart.exceptions import FormParserError  # noqa: PLC0415
        from python_multipart.multipart import parse_options_header  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise RuntimeError("forms need python-multipart: pip install 'minibg[standard]'") from exc

    items: list[tuple[str, str | UploadFile]] = []

    def on_field(field: Any) -> None:
        items.append((_text(field.field_name), _text(field.value)))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        name = plain_filename(_text(file.file_name))
        upload = UploadFile(file.file_object, name, file.size, file.content_type)
        items.append((_text(file.field_name), upload))

    kind, options = parse_options_header(content_type)
    if kind.decode("latin-1") not in FORMS:
        return FormData()
    config = {
        "MAX_FIELDS": max_fields,
        "MAX_FIELD_SIZE": max_field_size,
        "MAX_MEMORY_FILE_SIZE": MAX_MEMORY_FILE_SIZE,
    }
    try:
        parser = FormParser(
            kind.decode("latin-1"),
            on_field,
            on_file,
            boundary=options.get(b"boundary"),
            config=config,
        )
        async for chunk in stream:
            await run_in_threadpool(parser.write, chunk)
        await run_in_threadpool(parser.finalize)
    except FormParserError as exc:
        await FormData(items).close()
        raise HTTPException(400, f"the form cannot be read: {exc}") from exc
    except BaseException:
        await FormData(items).close()
        raise
    return FormData(items)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
