"""What `uvicorn tests.benchmarks.served:app` serves: the application of one peer for one row.

`BENCHMARK` says which, as "peer: row". For each line on the standard input, a line on the standard
output tells how many tasks have run so far. When the input ends, so does the server: whoever
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
