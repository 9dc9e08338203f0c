"""Shared by the commands that serve until a signal ends them: their log, their signals, and where they listen."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clef_wsgi.server.commands.output import say
from clef_wsgi.server.commands.words import Place
from clef_wsgi.server.errors import ServerError


def log_to_stderr() -> None:
    """Set up the log of a process that serves."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)


def say_ready(text: str) -> None:
    """Print a line at once: whoever started this may wait for it."""
    say(text)
    sys.stdout.flush()


@contextmanager
def handling(handler: Callable[..., Any], *signals: signal.Signals) -> Iterator[None]:
    """Handle signals meanwhile."""
    previous = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, before in previous.items():
            signal.signal(each, before)


def listener(place: Place) -> socket.socket:
    """Return a socket that listens at ``place``.

    :raises ServerError: somebody else listens there, or it can't be had.
    """
    with refusing_place(place, ": name another with --listen"):
        return _in_file_system(place) if isinstance(place, Path) else _in_network(*place)


@contextmanager
def refusing_place(place: Place, advice: str = "") -> Iterator[None]:
    """Say it in one line where a place can't be listened on.

    :raises ServerError: instead of ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ServerError(f"{written(place)} can't be listened on ({reason}){advice}.") from error


def written(place: Place) -> str:
    """Return a place as people write it."""
    if isinstance(place, Path):
        return str(place)
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _in_network(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)


def _in_file_system(path: Path) -> socket.socket:
    """Open a Unix socket with its mode set from its first moment: the proxy is a member of the group."""
    if path.is_socket():
        path.unlink()  # left behind by a process that was killed
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)
    try:
        listener.bind(str(path))
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener
