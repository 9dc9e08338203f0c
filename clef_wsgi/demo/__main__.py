"""One process of the demo: ``python -m clef_wsgi.demo server`` or ``site``, started by processes.py.

Settings come from the environment, under the example's names, and so does the number of the socket to serve at. Each
says ``ready`` once it listens (the server with its invitation after it), and ends when its standard input does: that
is closed by the demo, or by the system if the demo was killed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

from clef_wsgi.demo.processes import LISTENER, find_example

if TYPE_CHECKING:
    from flask import Flask

FOLDER = "clef-wsgi-demo-"
"""Begins the name of the folder for the files of one process, which is removed at its end."""


def server() -> None:
    """Serve the login server, which knows the one site."""
    from clef_wsgi.demo.server import make_demo_server  # what it needs is an extra

    with TemporaryDirectory(prefix=FOLDER) as folder:
        demo = make_demo_server(
            origin=os.environ["CLEF_WSGI_PROVIDER__SERVER_URL"],
            site_url=os.environ["CLEF_WSGI_BASE_URL"],
            app_id=os.environ["CLEF_WSGI_PROVIDER__APP_ID"],
            app_secret=os.environ["CLEF_WSGI_PROVIDER__APP_SECRET"],
            database=Path(folder, "clef.db"),
        )
        with closing(demo):
            _serve(demo.app, f"ready {demo.invitation}")


def site() -> None:
    """Serve the Flask example."""
    with TemporaryDirectory(prefix=FOLDER) as folder:
        os.environ["DATA_DIR"] = folder
        _serve(_load(find_example()).app_from_environ(), "ready")


def _serve(app: Flask, ready: str) -> None:
    """Serve at the socket that the demo handed over, until standard input ends."""
    from waitress import create_server  # type: ignore[import-untyped,unused-ignore]  # an extra

    # a browser asks for several things at once, and each that waits for a moment would be a warning
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listener = socket.socket(fileno=int(os.environ[LISTENER]))
    listening = create_server(app, sockets=[listener], threads=8, ident=None)
    threading.Thread(target=listening.run, daemon=True).start()
    sys.stdout.write(f"{ready}\n")
    sys.stdout.flush()
    sys.stdin.read()


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which then closes the input
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    {"server": server, "site": site}[sys.argv[1]]()
