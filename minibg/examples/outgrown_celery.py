"""The further ways that `outgrown` tries if `CELERY_BROKER_URL` names a broker of Celery's.

The endpoint and the task are those of `outgrown`. The list is sent to Celery, and a worker runs it:
once with Celery's own settings, and once with those of `safe_settings`. The worker is killed.
It needs the extra `celery`.
"""

import os

from celery import Celery

from minibg import MiniBG
from minibg.examples.outgrown import HERE, Way, job, serve
from minibg.ext.celery import CeleryTasks, safe_settings

BROKER = os.environ.get("CELERY_BROKER_URL", "amqp://")
VISIBILITY = 5
"""After how many seconds Redis gives a dead worker's task to another. It has to be longer than a
task takes, so it is an hour by default, which is too long for a person who watches."""


def celery_with(name: str) -> Celery:
    """An application of Celery's, with a queue that no other run shares."""
    app = Celery(name, broker=BROKER, set_as_current=False)
    app.conf.update(
        task_default_queue=f"minibg-{HERE.parent.name}-{HERE.name}", task_ignore_result=True
    )
    return app


by_default = celery_with("by_default")
safe = celery_with("safe")
safe.conf.update(safe_settings(BROKER))
if BROKER.startswith("redis"):
    safe.conf.broker_transport_options["visibility_timeout"] = VISIBILITY

served_by_default = serve(MiniBG(), CeleryTasks, by_default.task(name="job")(job))
served_safely = serve(MiniBG(), CeleryTasks, safe.task(name="job")(job))


def worker(app: str) -> list[str]:
    """The command that starts a worker with two processes."""
    command = ["celery", "-A", f"minibg.examples.outgrown_celery:{app}", "worker", "-c", "2"]
    return [*command, "--without-gossip", "--without-mingle"]


WAYS = [
    Way("CeleryTasks, its defaults", "outgrown_celery:served_by_default", worker("by_default")),
    Way("CeleryTasks, safe_settings", "outgrown_celery:served_safely", worker("safe")),
]
