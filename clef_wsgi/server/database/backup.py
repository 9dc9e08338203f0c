"""Copy a SQLite database while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_sqlite(source: Path, target: Path) -> None:
    """Write a consistent copy of ``source`` to the new file ``target``, mode 0600.

    :raises FileExistsError: ``target`` is there already.
    :raises OSError: it can't be written.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")  # one file, complete in itself
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def copy_beside(path: Path, kind: str) -> Path:
    """Copy a database to the first free name of ``PATH.KIND.1``, ``PATH.KIND.2`` ..., and return it."""
    number = 1
    while (target := path.with_name(f"{path.name}.{kind}.{number}")).exists():
        number += 1
    copy_sqlite(path, target)
    return target
