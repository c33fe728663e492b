"""Uploads and forms: the endpoint's arguments, and the forms that are refused.

The tests of the rule **release** show that uploads are closed, and when.
"""

import asyncio
import encodings
import json
import logging
import sys
import unicodedata
from collections.abc import Callable, Sequence
from io import BytesIO
from tempfile import SpooledTemporaryFile
from threading import get_ident
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTasks, Depends, MiniBG, Request, UploadFile
from minibg.concurrency import run_in_extra_thread, run_in_threadpool
from minibg.formparsers import (
    CHARSETS,
    MAX_LENGTH_ON_THE_LOOP,
    MAX_MEMORY_FILE_SIZE,
    decode,
    plain_filename,
)
from tests.framework.asgi import Answer, ask
from tests.rules.language.cancelling import Blocked

MULTIPART = [(b"content-type", b"multipart/form-data; boundary=xXx")]
URLENCODED = [(b"content-type", b"application/x-www-form-urlencoded")]

Part = tuple[str, str | None, bytes]
"""The name of a field, of the file in it if it is one, and what it holds."""


def multipart(*parts: Part) -> bytes:
    body = b""
    for name, filename, content in parts:
        body += f'--xXx\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if filename is not None:
            body += f'; filename="{filename}"\r\nContent-Type: text/x-test'.encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + b"--xXx--\r\n"


def sent(
    endpoint: Callable[..., Any],
    body: bytes | Sequence[bytes],
    headers: list[tuple[bytes, bytes]] = MULTIPART,
    **options: Any,
) -> Answer:
    app = MiniBG(max_body_size=None)
    app.post("/")(endpoint)
    pieces = [body] if isinstance(body, bytes) else body
    return ask(app, "POST", headers=headers, body=pieces, **options)


def refuses(answer: Answer, *words: str) -> bool:
    return answer.status == 400 and all(word in answer.body.decode() for word in words)


# --- what an endpoint is given -------------------------------------------------------------------


def test_an_upload_is_read_and_read_again(backend: str) -> None:
    async def endpoint(file: UploadFile) -> Any:
        start = (await file.read(2)).decode()
        rest = (await file.read()).decode()
        await file.seek(1)
        again = (await file.read()).decode()
        return [start, rest, again, file.size, file.filename, file.content_type]

    answer = sent(endpoint, multipart(("file", "a.txt", b"hello")), backend=backend)
    assert json.loads(answer.body) == ["he", "llo", "ello", 5, "a.txt", "text/x-test"]


def test_a_sync_endpoint_reads_the_file_itself() -> None:
    def endpoint(file: UploadFile) -> Any:
        return file.file.read().decode()

    assert sent(endpoint, multipart(("file", "a", b"hello"))).body == b'"hello"'


@given(
    parts=st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=20)), max_size=4),
    size=st.integers(1, 50),
)
def test_what_was_sent_arrives_in_whatever_pieces_it_came(
    parts: list[tuple[str, bytes]], size: int
) -> None:
    async def endpoint(request: Request) -> Any:
        files = (await request.form()).multi_items()
        return [
            (name, list(await file.read()), file.size)
            for name, file in files
            if isinstance(file, UploadFile)
        ]

    body = multipart(*((name, "f", content) for name, content in parts))
    if any(b"\r\n--xXx" in b"\r\n" + content for _, content in parts):
        return
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    answer = sent(endpoint, pieces)
    assert json.loads(answer.body) == [
        [name, list(content), len(content)] for name, content in parts
    ]


def test_an_upload_above_one_mebibyte_stands_on_the_disk(backend: str) -> None:
    in_memory: list[bool] = []

    async def endpoint(file: UploadFile) -> Any:
        spooled: Any = file.file
        in_memory.append(not spooled._rolled)
        content = await file.read()
        return [file.size, content == b"x" * len(content)]

    for size in (MAX_MEMORY_FILE_SIZE, MAX_MEMORY_FILE_SIZE + 1):
        content = b"x" * size
        answer = sent(endpoint, multipart(("file", "a", content)), backend=backend)
        assert json.loads(answer.body) == [size, True]
    assert in_memory == [True, False]
    assert MAX_MEMORY_FILE_SIZE == 2**20


def test_several_uploads_of_a_name_are_a_list() -> None:
    """Several uploads of a name are a list, and a single one is the last of them."""

    async def endpoint(files: list[UploadFile], other: UploadFile) -> Any:
        return [[file.filename for file in files], other.filename]

    body = multipart(("files", "a", b""), ("other", "b", b""), ("files", "c", b""))
    assert json.loads(sent(endpoint, body).body) == [["a", "c"], "b"]


def test_the_other_fields_are_in_the_form(backend: str) -> None:
    async def endpoint(file: UploadFile, request: Request, n: int = 0) -> Any:
        form = await request.form()
        assert form["file"] is file
        assert await request.form() is form
        return [form["title"], form.getlist("tag"), n]

    body = multipart(
        ("title", None, "Grüße".encode()),
        ("tag", None, b"a"),
        ("file", "f", b"x"),
        ("tag", None, b"b"),
    )
    answer = sent(endpoint, body, query_string=b"n=1", backend=backend)
    assert json.loads(answer.body) == ["Grüße", ["a", "b"], 1]


@given(fields=st.lists(st.tuples(st.text(), st.text()).filter(any)))
def test_fields_of_a_form_without_files_arrive_as_they_were_sent(
    fields: list[tuple[str, str]],
) -> None:
    async def endpoint(request: Request) -> Any:
        return (await request.form()).multi_items()

    fields = [
        (name.encode("utf-8", "replace").decode(), value.encode("utf-8", "replace").decode())
        for name, value in fields
    ]
    answer = sent(endpoint, urlencode(fields).encode(), URLENCODED)
    assert json.loads(answer.body) == [list(field) for field in fields]


def test_an_upload_that_is_missing_is_a_422_that_says_where() -> None:
    async def endpoint(file: UploadFile, files: list[UploadFile]) -> None:
        pytest.fail("it was called")

    body = multipart(("file", None, b"a field, not a file"), ("files", "", b""))
    for answer in (sent(endpoint, body), sent(endpoint, b"{}", [])):
        assert answer.status == 422
        faults = json.loads(answer.body)["detail"]
        assert [fault["loc"] for fault in faults] == [["body", "file"], ["body", "files"]]


def test_an_upload_with_a_default_is_optional() -> None:
    async def endpoint(file: UploadFile | None = None) -> Any:
        return file and file.filename

    assert sent(endpoint, multipart()).body == b"null"
    assert sent(endpoint, multipart(("file", "a", b""))).body == b'"a"'
    assert sent(endpoint, multipart(("file", "", b""))).body == b"null"


def test_a_dependency_and_the_endpoint_get_the_same_upload() -> None:
    async def first_line(file: UploadFile) -> str:
        return (await file.read(5)).decode()

    async def endpoint(file: UploadFile, line: str = Depends(first_line)) -> Any:
        return [line, (await file.read()).decode()]

    body = multipart(("file", "a", b"first second"))
    assert json.loads(sent(endpoint, body).body) == ["first", " second"]


# --- its name ------------------------------------------------------------------------------------


def filename_of(name: str) -> str:
    async def endpoint(file: UploadFile) -> Any:
        return file.filename

    return str(json.loads(sent(endpoint, multipart(("file", name, b"x"))).body))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\\\Windows\\\\system.ini", "system.ini"),
        ("..\\\\..\\\\a/b\\\\c.txt", "c.txt"),
        ("a\0b\x1b[2J.txt", "ab[2J.txt"),
        ("Grüße 1.txt", "Grüße 1.txt"),
    ],
)
def test_a_filename_has_no_directory_and_no_control_character(name: str, plain: str) -> None:
    assert filename_of(name) == plain


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot at 3.04.05\u202fPM.png",
        "報告\u3000書.pdf",
        "a\u00a0b.txt",
        "می\u200cشود.mp4",
        "क्\u200dष.png",
        "👨\u200d👩\u200d👧.png",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f.png",
        "\ue000",
        "\U0001fadc.png",
        "e\u0301.txt",
    ],
)
def test_a_filename_keeps_what_people_write(name: str) -> None:
    """Spaces of every width, joiners, tags, and what this Python's Unicode does not know yet."""
    assert filename_of(name) == name


BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""The characters of Unicode's property Bidi_Control: they make "gpj.exe" look like "exe.jpg"."""


@given(
    name=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\")),
    unwanted=st.text(st.characters(categories=["Cc"]) | st.sampled_from(BIDI_CONTROLS)),
)
def test_nothing_else_is_taken_from_a_filename(name: str, unwanted: str) -> None:
    kept = "".join(character for character in name if character not in BIDI_CONTROLS)
    assert plain_filename(unwanted + name) == ("" if kept in (".", "..") else kept)


@given(
    name=st.text() | st.text("./\\\0\n\x7f\x85\u202ea: ", max_size=12) | st.text("./\\", max_size=6)
)
def test_whatever_a_client_sends_its_filename_is_plain(name: str) -> None:
    plain = plain_filename(name)
    assert not set("/\\\0") & set(plain)
    assert plain not in (".", "..")
    assert all(unicodedata.category(character) != "Cc" for character in plain)
    assert plain == plain_filename(plain)


@given(name=st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1))
def test_a_filename_of_letters_and_digits_stays_as_it_is(name: str) -> None:
    assert plain_filename(name) == plain_filename("a/b\\" + name) == name


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="=?utf-8?B?R3LDvMOfZS50eHQ=?="', "Grüße.txt"),
        ('filename="=?UTF-8?b?R3LDvA==?= =?utf-8?q?=C3=9Fe=2Etxt?="', "Grüße.txt"),
        ('filename="=?iso-8859-1?q?Gr=FC=DFe?="', "Grüße"),
        ('filename="=?utf-8?B?Li4vLi4vZXRjL3Bhc3N3ZA==?="', "passwd"),
        ('filename="=?utf-8?B?R3LDvMOf===x?="', "=?utf-8?B?R3LDvMOf===x?="),
        ('filename="=?punycode?q?a-b?="', "a-b"),
        ('filename="=?="', "=?="),
        ("filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt", "Grüße.txt"),
        ("filename*=utf-8'de'it's%20this.txt", "it's this.txt"),
        ("FileName*=ISO-8859-1''Gr%FC%DFe", "Grüße"),
        ("filename*=unknown''Gr%C3%BC", "Grü"),
        ("filename*=utf-8''..%2F..%2Fpasswd", "passwd"),
        ("filename*=plain.txt", "plain.txt"),
        ("filename=a.txt; filename*=utf-8''b.txt", "a.txt"),
        ("filename=\"a; filename*=utf-8''b*=\"", "a; filename*=utf-8''b*="),
    ],
)
def test_a_filename_may_be_encoded_as_in_mail_or_in_http(disposition: str, name: str) -> None:
    """RFC 2047, as .NET does it; RFC 8187, which counts only alone (RFC 7578, section 4.2)."""

    async def endpoint(file: UploadFile) -> Any:
        return file.filename

    head = f"--xXx\r\nContent-Disposition: form-data; name=file; {disposition}\r\n\r\n"
    assert json.loads(sent(endpoint, head.encode() + b"\r\n--xXx--\r\n").body) == name


@pytest.mark.parametrize(
    "disposition", ['name="=?utf-8?B?w7w=?="', "name*=utf-8''%C3%BC", "name=ü", 'NAME = "ü"']
)
def test_the_name_of_a_field_may_be_encoded_likewise(disposition: str) -> None:
    head = f"--xXx\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    answer = sent(pairs, head.encode() + b"1\r\n--xXx--\r\n")
    assert json.loads(answer.body) == [["ü", "1"]]


# --- its text ------------------------------------------------------------------------------------


async def pairs(request: Request) -> Any:
    form = await request.form()
    return [[n, v if isinstance(v, str) else v.filename] for n, v in form.multi_items()]


def field(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--xXx\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (
        name,
        more,
        value,
    )


TEXT_PLAIN = b"\r\nContent-Type: text/plain; charset="
END = b"--xXx--\r\n"


@pytest.mark.parametrize(
    "charset",
    ["utf-8", "UTF8", "iso-8859-1", "windows-1252", '"iso-8859-15"', "utf-16", "latin1", "IBM850"],
)
def test_a_part_may_say_how_its_text_is_encoded(charset: str) -> None:
    """RFC 7578, section 4.4: the parameter `charset` of its own content type."""
    value = "José".encode(charset.strip('"'))
    body = field(b"a", value, TEXT_PLAIN + charset.encode()) + field(b"b", "José".encode()) + END
    assert json.loads(sent(pairs, body).body) == [["a", "José"], ["b", "José"]]


@pytest.mark.parametrize("first", [True, False])
def test_a_form_may_say_how_its_text_is_encoded(first: bool) -> None:
    """RFC 7578, section 4.6; names are encoded likewise (HTML, "multipart/form-data encoding")."""
    charset, name = field(b"_charset_", b"windows-1251"), "Имя".encode("cp1251")
    rest = (
        field(name, name)
        + field(b"u", "Имя".encode(), TEXT_PLAIN + b"utf-8")
        + field(b"f", b"", b'; filename="%b"' % name)
    )
    body = (charset + rest if first else rest + charset) + END
    expected = [["Имя", "Имя"], ["u", "Имя"], ["f", "Имя"]]
    answer = [pair for pair in json.loads(sent(pairs, body).body) if pair[0] != "_charset_"]
    assert answer == expected


def test_text_in_no_charset_that_is_known_is_utf_8_or_latin_1() -> None:
    """No byte of it is lost."""
    for charset in (
        b"",
        b"nonsense",
        b"us-ascii",
        b"a\0b",
        b"zlib",
        b"idna",
        b"utf-7",
        b"x" * 3000,
    ):
        body = field(b"a", "ü+2AA-".encode(), TEXT_PLAIN + charset)
        body += field(b"a", b"\xfc", TEXT_PLAIN + charset) + END
        assert json.loads(sent(pairs, body).body) == [["a", "ü+2AA-"], ["a", "ü"]]


@given(charset=st.sampled_from(sorted(CHARSETS)), value=st.binary(max_size=20))
def test_whatever_charset_is_named_what_is_decoded_is_text(charset: str, value: bytes) -> None:
    decode(value, charset).encode()  # no lone surrogate, which no answer could hold


def test_python_does_not_keep_the_charsets_that_clients_make_up() -> None:
    before = len(encodings._cache)  # type: ignore[attr-defined]  # it is never emptied
    for number in range(100):
        assert decode(b"a", f"made-up-{number}") == "a"
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


@given(name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=9))
def test_an_urlencoded_form_may_leave_utf_8_as_it_is(name: str) -> None:
    """As `curl -d` does."""
    plain = "".join(character for character in name if character not in "&=+%")
    body = f"{plain}x={plain}".encode()
    assert json.loads(sent(pairs, body, URLENCODED).body) == [[plain + "x", plain]]


# --- what else Starlette's uploads can do --------------------------------------------------------


def test_an_upload_has_the_headers_of_its_part() -> None:
    async def endpoint(file: UploadFile) -> Any:
        return [file.headers["X-Checksum"], file.content_type]

    body = field(b"file", b"x", b"; filename=a\r\nX-Checksum: abc\r\nContent-Type: text/x") + END
    assert json.loads(sent(endpoint, body).body) == ["abc", "text/x"]
    assert UploadFile(BytesIO()).content_type is None


@pytest.mark.parametrize("size", [4, MAX_MEMORY_FILE_SIZE + 1])
def test_an_upload_is_written_to(size: int, backend: str) -> None:
    async def endpoint(file: UploadFile) -> Any:
        await file.write(b"ab")
        await file.seek(size - 1)
        await file.write(b"cde")
        await file.seek(0)
        content = await file.read()
        return [file.size, content[:2].decode(), content[-4:].decode()]

    answer = sent(endpoint, multipart(("file", "a", b"x" * size)), backend=backend)
    assert json.loads(answer.body) == [size + 2, "ab", "xcde"]


def test_an_upload_that_grows_goes_to_the_disk_in_a_thread() -> None:
    async def endpoint(file: UploadFile) -> Any:
        threads: list[int] = []
        spooled: Any = file.file
        rollover = spooled.rollover
        spooled.rollover = lambda: (threads.append(get_ident()), rollover())
        await file.write(b"x" * MAX_MEMORY_FILE_SIZE)
        assert threads == []
        await file.write(b"x")
        return [file.size, len(threads), get_ident() in threads]

    answer = sent(endpoint, multipart(("file", "a", b"")))
    assert json.loads(answer.body) == [MAX_MEMORY_FILE_SIZE + 1, 1, False]


def test_the_size_of_an_upload_may_be_unknown() -> None:
    async def write() -> None:
        file = UploadFile(BytesIO(b"data"), filename="a")
        await file.write(b"x")
        assert (file.size, await file.read()) == (None, b"ata")
        await file.close()
        assert file.file.closed

    anyio.run(write)


def test_a_form_is_awaited_or_entered(backend: str) -> None:
    async def endpoint(request: Request) -> Any:
        async with request.form(max_files=1, max_fields=1, max_part_size=3) as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            content = await file.read()
        assert file.file.closed
        assert await request.form() is form
        return [content.decode(), form["a"]]

    body = multipart(("file", "f", b"hello"), ("a", None, b"123"))
    assert json.loads(sent(endpoint, body, backend=backend).body) == ["hello", "123"]


# --- once it is closed ---------------------------------------------------------------------------


@pytest.mark.parametrize("read", [UploadFile.read, lambda file: file.seek(0)])
def test_an_upload_that_a_task_reads_says_that_it_is_closed(
    read: Callable[[UploadFile], Any], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An upload that a task reads says that it is closed, and what to do."""

    async def task(file: UploadFile) -> None:
        await read(file)

    async def endpoint(file: UploadFile, tasks: BackgroundTasks) -> str:
        tasks.add_task(task, file)
        return "answered"

    answer = sent(endpoint, multipart(("file", "a.txt", b"x")), backend=backend)
    assert answer.body == b'"answered"'
    [record] = caplog.records
    assert (record.name, record.levelno) == ("minibg.background", logging.ERROR)
    assert record.exc_info
    message = str(record.exc_info[1])
    assert "the upload was closed" in message
    assert "read it in the endpoint" in message


@pytest.mark.parametrize("headers", [MULTIPART, URLENCODED])
@pytest.mark.parametrize("size", [1, MAX_LENGTH_ON_THE_LOOP, MAX_MEMORY_FILE_SIZE - 20])
def test_a_form_waits_for_no_thread_that_an_endpoint_holds(
    headers: list[tuple[bytes, bytes]], size: int, backend: str
) -> None:
    async def endpoint(request: Request) -> Any:
        current_default_thread_limiter().total_tokens = 1
        async with anyio.create_task_group() as group:
            blocked = Blocked()
            group.start_soon(run_in_threadpool, blocked)
            await wait_for_it(blocked)
            form = await request.form()
            a = form["a"]
            length = len(a if isinstance(a, str) else await a.read())
            await form.close()
            blocked.leave.set()
        return length

    async def wait_for_it(blocked: Blocked) -> None:
        while not blocked.runs.is_set():
            await anyio.lowlevel.checkpoint()

    content = b"x" * size
    body = multipart(("a", "f", content)) if headers is MULTIPART else b"a=" + content
    answer = sent(endpoint, body, headers, backend=backend)
    assert json.loads(answer.body) == size


@pytest.mark.parametrize("headers", [MULTIPART, URLENCODED])
@pytest.mark.parametrize("size", [MAX_LENGTH_ON_THE_LOOP - 200, 10 * MAX_LENGTH_ON_THE_LOOP])
def test_a_form_takes_a_thread_for_32_kib_not_for_each_piece(
    headers: list[tuple[bytes, bytes]], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form takes a thread for each 32 KiB, not for each piece."""
    hops: list[object] = []

    async def counted(call: Callable[[], Any]) -> Any:
        hops.append(call)
        return await run_in_extra_thread(call)

    monkeypatch.setattr("minibg.formparsers.run_in_extra_thread", counted)
    content = b"x" * size
    body = multipart(("a", None, content)) if headers is MULTIPART else b"a=" + content
    pieces = [body[start : start + 16] for start in range(0, len(body), 16)]
    assert sent(counts, pieces, headers).body == b"1"
    assert len(hops) <= (size // MAX_LENGTH_ON_THE_LOOP) + 1
    assert bool(hops) == (size > MAX_LENGTH_ON_THE_LOOP)


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_file_is_closed_though_asyncio_cancels_the_closing(in_thread: bool) -> None:
    async def main() -> bool:
        file: Any = SpooledTemporaryFile(1 if in_thread else 9)  # noqa: SIM115  # it is closed
        file.write(b"xy")
        closing = asyncio.create_task(UploadFile(file).close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        return bool(file.closed)

    assert asyncio.run(main())


# --- what it needs -------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [MULTIPART, URLENCODED])
def test_without_python_multipart_a_form_says_what_to_install(
    headers: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without python-multipart a form is an error that says what to install."""
    monkeypatch.setitem(sys.modules, "python_multipart.multipart", None)
    answer = sent(counts, b"", headers, fails=RuntimeError)
    assert "pip install 'minibg[standard]'" in str(answer.error)


# --- what a form may not be ----------------------------------------------------------------------


async def counts(request: Request) -> Any:
    return len(await request.form())


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (MULTIPART, b"no boundary at all"),
        (MULTIPART, b"--xXx\r\nno header\r\n\r\n"),
        (MULTIPART, b"--other\r\n\r\n--other--\r\n"),
        ([(b"content-type", b"multipart/form-data")], multipart(("a", None, b"1"))),
        ([(b"content-type", b"multipart/form-data; boundary=")], multipart(("a", None, b"1"))),
        ([(b"content-type", b"multipart/form-data; boundary=" + b"x" * 300)], b"--x"),
    ],
)
def test_a_malformed_form_is_a_400(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    assert refuses(sent(counts, body, headers), "the form cannot be read")


def test_a_form_that_ends_before_its_last_boundary_is_a_400() -> None:
    """What is missing may be a file, and then nobody would notice."""
    whole = multipart(("a", "a", b"1"), ("b", "b", b"2"))
    assert sent(counts, whole).body == b"2"
    for length in (whole.index(b"--xXx--"), whole.index(b"2"), whole.index(b'name="b"')):
        assert sent(counts, whole[:length]).status == 400


@given(body=st.binary() | st.text('-xX\r\n:;="aname', max_size=60).map(str.encode))
def test_any_body_is_a_form_or_a_400(body: bytes) -> None:
    head = b'--xXx\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n'
    for headers in (MULTIPART, URLENCODED):
        for start in (b"", b"--xXx\r\n", head, head + b"\r\n"):
            assert sent(counts, start + body, headers).status in (200, 400)


@pytest.mark.parametrize("headers", [MULTIPART, URLENCODED])
def test_a_form_has_no_more_fields_than_it_may(headers: list[tuple[bytes, bytes]]) -> None:
    async def endpoint(request: Request) -> Any:
        return len((await request.form(max_fields=2, max_files=0)).multi_items())

    def body(fields: int) -> bytes:
        if headers is URLENCODED:
            return urlencode([("a", "1")] * fields).encode()
        return multipart(*[("a", None, b"1")] * fields)

    assert sent(endpoint, body(2), headers).body == b"2"
    assert refuses(sent(endpoint, body(3), headers), "the form cannot be read", "2 fields")


def test_a_form_has_no_more_files_than_it_may() -> None:
    async def endpoint(request: Request) -> Any:
        return len((await request.form(max_files=2, max_fields=0)).multi_items())

    assert sent(endpoint, multipart(*[("a", "f", b"1")] * 2)).body == b"2"
    answer = sent(endpoint, multipart(*[("a", "f", b"1")] * 3))
    assert refuses(answer, "the form cannot be read", "2 files")


@pytest.mark.parametrize("header", [b"content-type", b"content-disposition"])
def test_a_header_of_options_alone_is_refused_at_once(header: bytes) -> None:
    """A header of 64 KB may hold 64,000 of them, each of which takes its time."""
    if header == b"content-type":
        headers = [(header, b"multipart/form-data" + b";" * 64_000)]
        assert refuses(sent(counts, b"", headers), "more than 99 options")
    else:
        body = b"--xXx\r\n%b: form-data; name=a%b\r\n\r\n\r\n" % (header, b";" * 1000)
        assert refuses(sent(counts, body + END), "more than 99 options")


@pytest.mark.parametrize("headers", [MULTIPART, URLENCODED])
def test_a_field_is_no_larger_than_it_may_be(headers: list[tuple[bytes, bytes]]) -> None:
    async def endpoint(request: Request) -> Any:
        return len(str((await request.form(max_part_size=10))["a"]))

    def body(size: int) -> bytes:
        value = b"x" * size
        return multipart(("a", None, value)) if headers is MULTIPART else b"a=" + value

    largest = 10 if headers is MULTIPART else 9  # there the name is part of it
    assert json.loads(sent(endpoint, body(largest), headers).body) == largest
    assert refuses(sent(endpoint, body(largest + 1), headers), "the form cannot be read")


def test_a_file_may_be_larger_than_a_field() -> None:
    async def endpoint(request: Request) -> Any:
        return len(await request.form(max_part_size=10))

    assert sent(endpoint, multipart(("a", "f", b"x" * 100))).body == b"1"


def test_a_form_by_default_has_at_most_a_thousand_fields() -> None:
    assert sent(counts, b"&".join([b"a=1"] * 1000), URLENCODED).status == 200
    assert sent(counts, b"&".join([b"a=1"] * 1001), URLENCODED).status == 400


def test_a_form_is_no_larger_than_a_body_may_be() -> None:
    app = MiniBG(max_body_size=100)
    app.post("/")(counts)
    body = multipart(("a", "f", b"x" * 100))
    assert ask(app, "POST", headers=MULTIPART, body=[body]).status == 413


@pytest.mark.parametrize("ending", [b"", b"\r\n--xXx?"])
def test_a_form_that_cannot_be_read_leaves_no_file_on_the_disk(
    ending: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, backend: str
) -> None:
    """A file whose form cannot be read leaves nothing on the disk.

    Nor is it left to the garbage collector, which would be heard as a warning.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    unfinished = multipart(("a", "f", b"x" * (MAX_MEMORY_FILE_SIZE + 1)))[
        : -len(b"\r\n--xXx--\r\n")
    ]
    sent(counts, unfinished + ending, backend=backend)
    assert list(tmp_path.iterdir()) == []
