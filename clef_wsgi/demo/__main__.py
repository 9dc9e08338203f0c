"""One process of the demo: ``python -m clef_wsgi.demo provider`` or ``site``, started by processes.py.

Settings come from the environment, under the example's names. Each says ``ready`` once it listens, and ends
when its standard input does: that is closed by the demo, or by the system if the demo was killed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from clef_wsgi.demo.processes import find_example
from clef_wsgi.testing import LocalClef


def provider() -> None:
    """The provider, which knows the one site."""
    clef = LocalClef(
        port=_port("CLEF_WSGI_PROVIDER__SERVER_URL"),
        site_url=os.environ["CLEF_WSGI_BASE_URL"],
        app_id=os.environ["CLEF_WSGI_PROVIDER__APP_ID"],
        app_secret=os.environ["CLEF_WSGI_PROVIDER__APP_SECRET"],
    )
    with clef:
        _until_standard_input_ends()


def site() -> None:
    """The Flask example under waitress. Its files are its own, and go when it goes."""
    from waitress import create_server  # type: ignore[import-untyped,unused-ignore]  # an extra

    # a browser asks for several things at once, and each that waits for a moment would be a warning
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="clef-wsgi-demo-") as data:
        os.environ["DATA_DIR"] = data
        app = _load(find_example()).app_from_environ()
        server = create_server(app, host="127.0.0.1", port=_port("CLEF_WSGI_BASE_URL"), threads=8)
        threading.Thread(target=server.run, daemon=True).start()
        _until_standard_input_ends()
        server.close()


def _port(name: str) -> int:
    return urlsplit(os.environ[name]).port or 80


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _until_standard_input_ends() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which then closes the input
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    {"provider": provider, "site": site}[sys.argv[1]]()
