"""The command line of the laboratory: `python -m minibg`.

What may live here: options and exit statuses. What they set going is the business of `lab/run.py`.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, and exits with status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"minibg: {message}\n")


def main() -> int:
    """Run the laboratory with the options of the command line, and return the exit status."""
    parser = Parser(
        prog="minibg",
        description="Deliver a webhook to a receiver on a real server, and see on a timeline when "
        "the answer left, and which background tasks ran where, in which order and how long.",
        epilog="example: python -m minibg --requests 100 --payload push.json",
    )
    add = parser.add_argument
    add("--payload", type=Path, metavar="FILE", help="deliver this JSON, not a push event")
    add("--requests", type=_positive, default=1, metavar="N", help="deliver N times, and sum up")
    add("--port", type=_port, default=0, help="serve on this port, not on a free one")
    add("--fail-fast", action="store_true", help="let the first failure stop the other tasks")
    add("--plain", action="store_true", help="no colours, nothing that moves")
    add("--save", type=_picture, metavar="FILE", help="save the picture too: FILE.svg or FILE.txt")
    options = parser.parse_args()
    try:
        from minibg.lab import run  # noqa: PLC0415  # the rest works without the extra
    except ModuleNotFoundError as exc:
        parser.error(f"{exc.name} is not installed: pip install 'minibg[standard]'")
    try:
        payload = run.read_payload(options.payload)
        sock = run.listen(options.port)
    except run.UsageError as exc:
        parser.error(str(exc))
    try:
        run.watch(sock, payload, options.requests, options.fail_fast, options.plain, options.save)
    except KeyboardInterrupt:
        return 130  # what shells call a program that Ctrl-C ended
    except BrokenPipeError:
        # Nobody reads the output any more, so Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _picture(text: str) -> Path:
    if not text.endswith((".svg", ".txt")):
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .svg nor in .txt")
    return Path(text)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
