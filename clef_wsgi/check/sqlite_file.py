"""Check how durable a SQLite file is, and who may open it: its mode, its file system, its journal."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from clef_wsgi.check.findings import STORE, Finding

MOUNTS = Path("/proc/self/mounts")
_NETWORK = ("nfs", "cifs", "smb", "9p", "ceph", "gluster", "lustre", "afs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone")
_PASSING = ("tmpfs", "ramfs")


def findings(path: str, *, journal_mode: str = "wal", mounts: Path = MOUNTS) -> Iterator[Finding]:
    """Yield the findings about a file.

    :param journal_mode: what its journal has to be; empty when any will do.
    :param mounts: the table of mounted file systems, as Linux has it.
    """
    place = os.path.realpath(path)
    yield _mode(place)
    yield _file_system(_kind_of_file_system(place, mounts))
    if journal_mode:
        yield _journal(place, journal_mode)


def _mode(place: str) -> Finding:
    mode = stat.S_IMODE(os.stat(place).st_mode)
    if mode & 0o077:
        return STORE.warning(
            f"The store's file is open to other accounts of this machine (mode {mode:04o}).",
            "Close it: chmod 600, and its directory 700.",
        )
    return STORE.ok(f"The store's file is closed to other accounts (mode {mode:04o}).")


def _file_system(kind: str) -> Finding:
    if kind.startswith(_NETWORK):
        return STORE.error(
            f"The store's file lies on a network file system ({kind}), where SQLite's locks don't hold.",
            "Put it on a local disk; for several machines use store = sql or redis.",
        )
    if kind in _PASSING:
        return STORE.warning(
            f"The store's file lies in memory ({kind}): at a reboot everybody has to sign in again.",
            "Put it on a disk.",
        )
    return STORE.ok(f"The store's file lies on a local disk ({kind or 'its file system is not told'}).")


def _kind_of_file_system(place: str, mounts: Path) -> str:
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:  # not Linux
        return ""
    around = [
        (len(point), number, kind)
        for number, (_, point, kind, *_) in enumerate(line for line in lines if len(line) > 3)
        if place == point or place.startswith(point.rstrip("/") + "/")
    ]
    return max(around)[2] if around else ""


def _journal(place: str, expected: str) -> Finding:
    with closing(sqlite3.connect(f"file:{_quoted(place)}?mode=ro", uri=True)) as connection:
        found = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    if found == expected:
        return STORE.ok(f"The store's file writes ahead (journal_mode {found}), and to the disk at each logout.")
    return STORE.warning(
        f"The store's file has another journal than the store gives it (journal_mode {found}): something else uses it.",
        "Let the store alone have the file.",
    )


def _quoted(place: str) -> str:
    return place.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
