"""FastAPI's documented examples, run twice: as they are, and with the import changed to minibg.

FastAPI is the oracle: minibg has to give the same answers, and to write and print the same.
What may live here: the examples as they are documented (the tutorials on background tasks and on
dependencies), and the requests to them.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.framework.test_compatibility import TestClient

BACKGROUND_TASKS_1 = """
from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


def write_notification(email: str, message=""):
    with open("log.txt", mode="w") as email_file:
        content = f"notification for {email}: {message}"
        email_file.write(content)


@app.post("/send-notification/{email}")
async def send_notification(email: str, background_tasks: BackgroundTasks):
    background_tasks.add_task(write_notification, email, message="some notification")
    return {"message": "Notification sent in the background"}
"""

BACKGROUND_TASKS_2 = """
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI

app = FastAPI()


def write_log(message: str):
    with open("log.txt", mode="a") as log:
        log.write(message)


def get_query(background_tasks: BackgroundTasks, q: str | None = None):
    if q:
        message = f"found query: {q}\\n"
        background_tasks.add_task(write_log, message)
    return q


@app.post("/send-notification/{email}")
async def send_notification(
    email: str, background_tasks: BackgroundTasks, q: Annotated[str, Depends(get_query)]
):
    message = f"message to {email}\\n"
    background_tasks.add_task(write_log, message)
    return {"message": "Message sent"}
"""

DEPENDENCIES_1 = """
from fastapi import Depends, FastAPI

app = FastAPI()


async def common_parameters(q: str | None = None, skip: int = 0, limit: int = 100):
    return {"q": q, "skip": skip, "limit": limit}


@app.get("/items/")
async def read_items(commons: dict = Depends(common_parameters)):
    return commons


@app.get("/users/")
async def read_users(commons: dict = Depends(common_parameters)):
    return commons
"""

DEPENDENCIES_1_SHARED = """
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


async def common_parameters(q: str | None = None, skip: int = 0, limit: int = 100):
    return {"q": q, "skip": skip, "limit": limit}


CommonsDep = Annotated[dict, Depends(common_parameters)]


@app.get("/items/")
async def read_items(commons: CommonsDep):
    return commons


@app.get("/users/")
async def read_users(commons: CommonsDep):
    return commons
"""

CLASSES = """
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


fake_items_db = [{"item_name": "Foo"}, {"item_name": "Bar"}, {"item_name": "Baz"}]


class CommonQueryParams:
    def __init__(self, q: str | None = None, skip: int = 0, limit: int = 100):
        self.q = q
        self.skip = skip
        self.limit = limit


@app.get("/items/")
async def read_items(commons: PARAMETER):
    response = {}
    if commons.q:
        response.update({"q": commons.q})
    items = fake_items_db[commons.skip : commons.skip + commons.limit]
    response.update({"items": items})
    return response
"""

DEPENDENCIES_2 = CLASSES.replace("PARAMETER", "CommonQueryParams = Depends(CommonQueryParams)")
DEPENDENCIES_3 = CLASSES.replace(
    "PARAMETER", "Annotated[CommonQueryParams, Depends(CommonQueryParams)]"
)
DEPENDENCIES_4 = CLASSES.replace("PARAMETER", "Annotated[CommonQueryParams, Depends()]")

DEPENDENCIES_7 = """
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


class DBSession:
    def __init__(self):
        print("open")

    def close(self):
        print("close")


async def get_db():
    db = DBSession()
    try:
        yield db
    finally:
        db.close()


@app.get("/items/")
async def read_items(db: Annotated[DBSession, Depends(get_db)]):
    print("endpoint")
    return type(db).__name__
"""

DEPENDENCIES_8 = """
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


class Dep:
    def __init__(self, name):
        self.name = name
        print("open", name)

    def close(self, *others):
        print("close", self.name, *(other.name for other in others))


def generate_dep_a():
    return Dep("a")


def generate_dep_b():
    return Dep("b")


def generate_dep_c():
    return Dep("c")


async def dependency_a():
    dep_a = generate_dep_a()
    try:
        yield dep_a
    finally:
        dep_a.close()


async def dependency_b(dep_a: Annotated[Dep, Depends(dependency_a)]):
    dep_b = generate_dep_b()
    try:
        yield dep_b
    finally:
        dep_b.close(dep_a)


async def dependency_c(dep_b: Annotated[Dep, Depends(dependency_b)]):
    dep_c = generate_dep_c()
    try:
        yield dep_c
    finally:
        dep_c.close(dep_b)


@app.get("/items/")
async def read_items(dep_c: Annotated[Dep, Depends(dependency_c)]):
    return dep_c.name
"""

DEPENDENCIES_8B = """
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

app = FastAPI()


data = {
    "plumbus": {"description": "Freshly pickled plumbus", "owner": "Morty"},
    "portal-gun": {"description": "Gun to create portals", "owner": "Rick"},
}


class OwnerError(Exception):
    pass


def get_username():
    try:
        yield "Rick"
    except OwnerError as e:
        raise HTTPException(status_code=400, detail=f"Owner error: {e}")


@app.get("/items/{item_id}")
def get_item(item_id: str, username: Annotated[str, Depends(get_username)]):
    if item_id not in data:
        raise HTTPException(status_code=404, detail="Item not found")
    item = data[item_id]
    if item["owner"] != username:
        raise OwnerError(username)
    return item
"""

DEPENDENCIES_8C = """
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

app = FastAPI()


class InternalError(Exception):
    pass


def get_username():
    try:
        yield "Rick"
    except InternalError:
        print("Oops, we didn't raise again, Britney 😱")


@app.get("/items/{item_id}")
def get_item(item_id: str, username: Annotated[str, Depends(get_username)]):
    if item_id == "portal-gun":
        raise InternalError(f"The portal gun is too dangerous to be owned by {username}")
    if item_id != "plumbus":
        raise HTTPException(
            status_code=404, detail="Item not found, there's only a plumbus here"
        )
    return item_id
"""

DEPENDENCIES_8D = DEPENDENCIES_8C.replace(
    "Oops, we didn't raise again, Britney 😱\")",
    "We don't swallow the internal error here, we raise again 😎\")\n        raise",
)

DEPENDENCIES_8E = DEPENDENCIES_8B.replace(
    "Depends(get_username)", 'Depends(get_username, scope="function")'
)

DEPENDENCIES_10 = """
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


class MySuperContextManager:
    def __enter__(self):
        print("open")
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        print("close")


async def get_db():
    with MySuperContextManager() as db:
        yield db


@app.get("/items/")
def read_items(db: Annotated[MySuperContextManager, Depends(get_db)]):
    return type(db).__name__
"""

DEPENDENCIES_11 = """
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


class FixedContentQueryChecker:
    def __init__(self, fixed_content: str):
        self.fixed_content = fixed_content

    def __call__(self, q: str = ""):
        if q:
            return self.fixed_content in q
        return False


checker = FixedContentQueryChecker("bar")


@app.get("/query-checker/")
async def read_query_check(fixed_content_included: Annotated[bool, Depends(checker)]):
    return {"fixed_content_in_query": fixed_content_included}
"""

OVERRIDES = (
    DEPENDENCIES_1
    + """

async def override_dependency(q: str | None = None):
    return {"q": q, "skip": 5, "limit": 10}


app.dependency_overrides[common_parameters] = override_dependency
"""
)

COMMONS = ["/items/", "/items/?q=foo", "/items/?skip=1&limit=1", "/users/?q=a&skip=x", "/none"]
ITEMS = ["/items/plumbus", "/items/portal-gun", "/items/none"]
NOTIFICATIONS = ["/send-notification/foo@example.com", "/send-notification/a?q=some-query"]


class Seen(NamedTuple):
    """What a client and the machine see of an example: answers, what was printed and written."""

    answers: list[tuple[int, Any]]
    printed: str
    written: str


def see(
    source: str, method: str, paths: list[str], capsys: pytest.CaptureFixture[str], path: Path
) -> Seen:
    """Run the example, ask for the paths, and give what is seen of it."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "example", "exec"), names)  # the sources stand above
    client = TestClient(names["app"], raise_server_exceptions=False)
    answers = [client.request(method, path) for path in paths]
    log = path / "log.txt"
    return Seen(
        [(answer.status_code, content_of(answer)) for answer in answers],
        capsys.readouterr().out,
        log.read_text() if log.exists() else "",
    )


def content_of(answer: Any) -> Any:
    """The answer's content. Of a 422 only where the faults are: the words are the library's."""
    if answer.status_code == 422:
        return [fault["loc"] for fault in answer.json()["detail"]]
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


@pytest.mark.parametrize(
    ("source", "method", "paths"),
    [
        pytest.param(BACKGROUND_TASKS_1, "POST", NOTIFICATIONS, id="background_tasks 1"),
        pytest.param(BACKGROUND_TASKS_2, "POST", NOTIFICATIONS, id="background_tasks 2"),
        pytest.param(DEPENDENCIES_1, "GET", COMMONS, id="dependencies 1"),
        pytest.param(DEPENDENCIES_1_SHARED, "GET", COMMONS, id="dependencies 1, shared"),
        pytest.param(DEPENDENCIES_2, "GET", COMMONS, id="dependencies 2"),
        pytest.param(DEPENDENCIES_3, "GET", COMMONS, id="dependencies 3"),
        pytest.param(DEPENDENCIES_4, "GET", COMMONS, id="dependencies 4"),
        pytest.param(DEPENDENCIES_7, "GET", ["/items/"], id="dependencies 7"),
        pytest.param(DEPENDENCIES_8, "GET", ["/items/"], id="dependencies 8"),
        pytest.param(DEPENDENCIES_8B, "GET", ITEMS, id="dependencies 8b"),
        pytest.param(DEPENDENCIES_8C, "GET", ITEMS, id="dependencies 8c"),
        pytest.param(DEPENDENCIES_8D, "GET", ITEMS, id="dependencies 8d"),
        pytest.param(DEPENDENCIES_8E, "GET", ITEMS, id="dependencies 8e"),
        pytest.param(DEPENDENCIES_10, "GET", ["/items/"], id="dependencies 10"),
        pytest.param(
            DEPENDENCIES_11,
            "GET",
            ["/query-checker/", "/query-checker/?q=foobar", "/query-checker/?q=foo"],
            id="dependencies 11",
        ),
        pytest.param(OVERRIDES, "GET", COMMONS, id="dependency_testing 1"),
    ],
)
def test_an_example_does_what_it_does_on_fastapi(
    source: str,
    method: str,
    paths: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """An example does what it does on FastAPI, with nothing changed but the import."""

    def run(text: str, name: str) -> Seen:
        directory = tmp_path / name
        directory.mkdir()
        monkeypatch.chdir(directory)
        return see(text, method, paths, capsys, directory)

    changed = re.sub(
        r"^from fastapi import (.*)\bFastAPI\b(.*)$",
        r"from minibg import \1MiniBG as FastAPI\2",
        source,
        flags=re.MULTILINE,
    )
    assert "fastapi" not in changed
    expected = run(source, "fastapi")
    assert expected.answers
    assert run(changed, "minibg") == expected
