"""Read secrets that stand in a file of their own: ``app_secret_file`` is ``app_secret``."""

from __future__ import annotations

import os
import stat

MAX_BYTES = 8192


def read_secret(path: str) -> str:
    """Return what the file holds, without one line end at its end.

    :raises ValueError: it can't be had; the message goes on after the setting's name, without a full stop.
    """
    try:
        content = _content(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "no such file"
        problem = f"names {_shown(path)}, which can't be read: {reason}"
    else:
        text = content.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
        if text.strip() and "\N{REPLACEMENT CHARACTER}" not in text and "\0" not in text and len(content) <= MAX_BYTES:
            return text
        problem = f"names {_shown(path)}, which holds no secret: it is empty, too long, or no text in UTF-8"
    raise ValueError(problem)  # outside of the handler: the cause's text has the path


def _content(path: str) -> bytes:
    # A pipe that nobody writes to would hold the start for ever, and a device may have no end.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(None, "it is no regular file")
        return file.read(MAX_BYTES + 1)


def _shown(path: str) -> str:
    """Return the path, unless it may be the secret itself, which somebody wrote in its place."""
    is_path = path.startswith("/") and path.count("/") > 1 and path.isprintable() and len(path) < 256
    return path if is_path or os.path.exists(path) else "something that is no absolute path"
