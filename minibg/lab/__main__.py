"""The command line of the lab: `python -m minibg.lab`.

What may live here: options, and opening the browser. `site.py` has the application.
"""

import sys
import webbrowser
from contextlib import suppress
from threading import Timer

from minibg.__main__ import Parser, _port


def main() -> int:
    """Serve the lab until it is interrupted, and return the exit status."""
    parser = Parser(
        prog="minibg.lab",
        description="Compose a request with background tasks, run it for real on minibg, Starlette "
        "and FastAPI, and see on a timeline what happens after `return`, line by line.",
    )
    parser.add_argument(
        "--port", type=_port, default=0, help="serve on this port, not on a free one"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.add_argument("--app", metavar="my_app:app", help="show requests to your own application")
    options = parser.parse_args()
    try:
        import uvicorn  # noqa: PLC0415  # `--help` works without the extra

        from minibg.lab import run  # noqa: PLC0415
        from minibg.lab.hosted import Hosted  # noqa: PLC0415
        from minibg.lab.site import Server, create_app  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        parser.error(f"{exc.name} is not installed: pip install 'minibg[standard]'")
    try:
        sock = run.listen(options.port)
    except run.UsageError as exc:
        parser.error(str(exc))
    url = run.url_of(sock)
    print(f"The lab is at {url}/ (Ctrl-C ends it, and all that it has started)", flush=True)
    if not options.no_browser:
        opener = Timer(0.5, webbrowser.open, [f"{url}/"])
        opener.daemon = True
        opener.start()
    app = create_app(Hosted(options.app) if options.app else None)
    config = uvicorn.Config(
        app,
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    with suppress(KeyboardInterrupt):
        Server(config, app).run(sockets=[sock])
    return 0


if __name__ == "__main__":
    sys.exit(main())
