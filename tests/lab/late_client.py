"""The lab's client on a busy machine: it reports what it sees a while later."""

import sys
import time

from minibg.lab import client

SECONDS = 0.4
on_time = client.mark


def late(what: str, detail: str = "") -> None:
    """Tell of a moment when it has passed."""
    time.sleep(SECONDS)
    on_time(what, detail)


if __name__ == "__main__":
    client.mark = late
    client.ask(int(sys.argv[1]), sys.argv[2])
