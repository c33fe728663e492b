"""Serves an example with uvicorn, and prints what to try.

What may live here: code that all examples share, and nothing that teaches.
"""

import logging
import os
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import uvicorn

from minibg.types import ASGIApp


def directory() -> Path:
    """Where an example keeps its files: `MINIBG_EXAMPLES_DIR`, or a new temporary directory."""
    chosen = Path(os.environ.get("MINIBG_EXAMPLES_DIR") or mkdtemp(prefix="minibg-"))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


def serve(app: ASGIApp, *try_this: str) -> None:
    """Serve the application on port 8000 of this machine, or on the one given as first argument.

    Args:
        app: The application.
        try_this: Lines for another terminal; `{url}` in them stands for the server's address.
    """
    parser = ArgumentParser(description="Serve this example, and print what to try.")
    parser.add_argument("port", type=int, nargs="?", default=8000, help="8000 by default")
    config = uvicorn.Config(app, port=parser.parse_args().port)
    listener = config.bind_socket()  # if that fails, nothing is printed to try
    print("In another terminal, try:", flush=True)
    for line in try_this:
        print("   ", line.replace("{url}", f"http://127.0.0.1:{config.port}"), flush=True)
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s: %(asctime)s %(name)s: %(message)s"
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
