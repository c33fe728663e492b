"""The application that `uvicorn tests.benchmarks.served:app` serves: one peer's, for one row.

`BENCHMARK` names both, as "peer: row". For each line on standard input, a line on standard output
tells how many tasks have run so far. When the input ends, so does the server: the process that
started it is gone.
"""

import os
import sys
from signal import SIGTERM
from threading import Thread

from tests.benchmarks import work
from tests.benchmarks.apps import make_app


def tell_how_many_ran() -> None:
    for _ in sys.stdin:
        print(len(work.ran), flush=True)
    os.kill(os.getpid(), SIGTERM)


peer, row = os.environ["BENCHMARK"].split(": ")
app = make_app(peer, work.ROWS[row])
Thread(target=tell_how_many_ran, daemon=True).start()
