"""Open the socket that the server listens on."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from clef_wsgi.server.errors import ServerError

if TYPE_CHECKING:
    from clef_wsgi.server.commands.arguments import Place


def listener(place: Place) -> socket.socket:
    """Return a socket that listens at ``place``.

    :raises ServerError: somebody else listens there, or it can't be had.
    """
    try:
        return _in_file_system(place) if isinstance(place, Path) else _in_network(*place)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ServerError(f"{written(place)} can't be listened on ({reason}): name another with --listen.") from error


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
