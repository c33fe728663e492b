"""The arguments of a task: `add_task` keeps references to the objects that it is given.

Read `arguments` first: a task takes arguments as any call does. Then `rebound`, `mutated` and
`copied`: all three answer with the same names, but their tasks write different ones.

- A name that is rebound later means another object from then on. The task has the earlier one.
- An object that is mutated later is mutated for the task too, since nothing is copied.
- So if an object may still change, give the task a copy. This one copies the list, but not its
  items; if these may change as well, `copy.deepcopy` copies all.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from minibg import BackgroundTasks, MiniBG, PlainTextResponse, Request
from minibg.examples.serve import directory, serve

Names = dict[str, list[str]]


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Path]]:
    sheet = directory() / "register.txt"
    sheet.touch()
    print(f"the tasks write to {sheet}", flush=True)
    yield {"sheet": sheet}


app = MiniBG(lifespan=lifespan)


def register(sheet: Path, names: list[str], course: str) -> None:
    """The task: it adds a line to the sheet."""
    with sheet.open("a", encoding="utf-8") as lines:
        lines.write(f"{course}: {', '.join(names)}\n")


@app.post("/arguments", status_code=202)
async def arguments(names: list[str], request: Request, tasks: BackgroundTasks) -> Names:
    sheet = request.state.sheet
    tasks.add_task(register, sheet, names, "positional")
    tasks.add_task(register, sheet=sheet, names=names, course="keyword")
    tasks.add_task(register, sheet, names, course="mixed")
    return {"names": names}


@app.post("/rebound", status_code=202)
async def rebound(names: list[str], request: Request, tasks: BackgroundTasks) -> Names:
    tasks.add_task(register, request.state.sheet, names, "rebound")
    names = [*names, "Eve"]
    return {"names": names}


@app.post("/mutated", status_code=202)
async def mutated(names: list[str], request: Request, tasks: BackgroundTasks) -> Names:
    tasks.add_task(register, request.state.sheet, names, "mutated")
    names.append("Eve")
    return {"names": names}


@app.post("/copied", status_code=202)
async def copied(names: list[str], request: Request, tasks: BackgroundTasks) -> Names:
    tasks.add_task(register, request.state.sheet, names.copy(), "copied")
    names.append("Eve")
    return {"names": names}


@app.get("/sheet")
def read_sheet(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.sheet.read_text(encoding="utf-8"))


if __name__ == "__main__":
    serve(
        app,
        "curl -X POST '{url}/arguments?names=Ada&names=Grace'",
        "curl -X POST '{url}/rebound?names=Ada&names=Grace'",
        "curl -X POST '{url}/mutated?names=Ada&names=Grace'",
        "curl -X POST '{url}/copied?names=Ada&names=Grace'",
        "curl {url}/sheet",
    )
