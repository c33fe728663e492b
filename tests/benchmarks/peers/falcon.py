"""Falcon. It has no injection and no list of tasks.

Scheduled tasks all start at once, not in order, and the application does not wait for them.
"""

from functools import partial

from falcon.asgi import App, Request, Response

from tests.benchmarks.work import ANSWER, ARGUMENTS, Call, in_a_thread

IMPORT = "from falcon.asgi import App, Request, Response"


def no_task() -> App:
    class Resource:
        async def on_get(self, req: Request, resp: Response) -> None:
            resp.media = ANSWER

    return app_of(Resource())


def tasks(calls: tuple[Call, ...]) -> App:
    class Resource:
        async def on_get(self, req: Request, resp: Response) -> None:
            resp.media = ANSWER
            for call in calls:
                schedule = resp.schedule_sync if call is in_a_thread else resp.schedule
                schedule(partial(call, *ARGUMENTS))

    return app_of(Resource())


def body() -> App:
    class Resource:
        async def on_post(self, req: Request, resp: Response) -> None:
            resp.media = await req.get_media()

    return app_of(Resource())


def app_of(resource: object) -> App:
    app = App()
    app.add_route("/", resource)
    return app
