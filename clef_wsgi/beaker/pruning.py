"""Remove session records that have ended, where no back-end does it: files, database tables, old keys of Redis.

Only what is recognised as a session's or a started login's is touched: the same folder or table may hold records of
``beaker.cache``. Ages are counted by clocks that may differ, so each has a day's margin.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import math
import os
import pickle
import re
import stat
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from clef_wsgi.beaker.backends import directories, lock_path
from clef_wsgi.beaker.session_class import (
    BACK_END,
    DAY,
    MARGIN_SECONDS,
    TIMEOUT_MARGIN_SECONDS,
    ages_of_logins,
    cookie_age,
    is_content,
)

MARGIN = DAY
KINDS_THAT_END = ("memory", "file", "ext:redis", "ext:database")
"""The types of session whose records end: by themselves, or by what is here."""
STEP = 200
"""Rows that are read and deleted in one transaction."""
_SESSION_ID = re.compile(r"[0-9a-f]{32}")
_SESSION_FILE = re.compile(r"[0-9a-f]{32}\.cache")
_DRAFT_FILE = re.compile(r"[0-9a-f]{32}\.cache\.temp")
_CACHE_FILE = re.compile(r"[0-9a-f]{40}\.cache")  # beaker.cache names its files by SHA-1
_REDIS_KEY = re.compile(r"beaker_cache:[0-9a-f]{32}:session")
_LOCK_FILE = re.compile(r"[0-9a-f]{40}\.lock")
GARBAGE = object()
SESSION, STARTED, PROVIDER_STATE = "session", "started", "provider_state"
Removed = Counter[str]
"""Counts of removed sessions, of started logins and empty sessions, and of provider states of logins."""
_OF_STARTED_LOGINS = {"session", "login", "next", "started"}


@dataclass(frozen=True)
class Ages:
    """Seconds after the last write by which a record has ended, the margin included.

    ``entry`` is the name of this site's own login in a session.
    """

    session: float
    started: float
    entry: str = ""
    login: float = math.inf

    @classmethod
    def of(cls, session: Mapping[str, Any], max_login_age: float, state_lifetime: float, entry: str) -> Ages:
        """Compute the ages from Beaker's options and the middleware's."""
        timeout = session.get("timeout")
        longest = max(max_login_age, cookie_age(session.get("cookie_expires")))
        return cls(
            session=(int(timeout) + TIMEOUT_MARGIN_SECONDS if timeout else longest) + MARGIN,
            started=state_lifetime + MARGIN_SECONDS + MARGIN,
            entry=entry,
            login=max_login_age + MARGIN,
        )

    def ended(self, content: Any, age: float) -> str:
        """Say what has ended, of a record that was written so long ago: SESSION, STARTED or nothing at all.

        STARTED is what holds started logins, or nothing. What is not recognised never ends.
        """
        if not isinstance(content, dict) or not all(isinstance(value, str | bytes) for value in content.values()):
            return ""
        if content.keys() == {"session"} and _holds_content(session := _unpacked(content["session"])):
            return SESSION if age > self.session and not _may_live(session, self.entry) else ""
        if content.keys() == {PROVIDER_STATE}:
            return PROVIDER_STATE if age > self.login else ""
        return STARTED if content.keys() <= _OF_STARTED_LOGINS and age > self.started else ""


class _NeedsClass(Exception):
    pass


class _NoClasses(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise _NeedsClass


def _content_of(data: bytes) -> Any:
    """Unpickle a record without loading classes: None where it needs one, as no session does; GARBAGE for no pickle."""
    try:
        return _NoClasses(io.BytesIO(data)).load()
    except _NeedsClass:
        return None
    except Exception:  # noqa: BLE001  garbage raises whatever it likes
        return GARBAGE


def _unpacked(packed: str | bytes) -> Any:
    """Return a session's content, or None where that can't be read: it may be encrypted."""
    try:
        return json.loads(zlib.decompress(base64.b64decode(packed)))
    except Exception:  # noqa: BLE001  as in _content_of
        return None


def _holds_content(session: Any) -> bool:
    return any(map(is_content, session)) if isinstance(session, dict) else True


def _may_live(session: Any, own: str) -> bool:
    """Return whether a login of another site in the same session has time left."""
    if not isinstance(session, dict):
        return False
    return max(ages_of_logins({name: value for name, value in session.items() if name != own})) > 0


# -- files --------------------------------------------------------------------------------------------------


def prune_files(session: Mapping[str, Any], ages: Ages) -> Removed:
    """Remove ended sessions and started logins with their locks, drafts of killed processes, and locks of nobody."""
    files, locks = map(Path, directories(session.get("data_dir"), session.get("file_dir"), session.get("lock_dir")))
    removed = Counter(
        _remove(file, _lock_of(file, locks), ages)
        for file in _old(files, _SESSION_FILE, min(ages.started, ages.session))
    )
    for draft in _old(files, _DRAFT_FILE, MARGIN):
        with contextlib.suppress(OSError), _held(_lock_of(draft.with_suffix(""), locks)):
            draft.unlink()
    _prune_locks(files, locks, ages)
    return removed


def _prune_locks(files: Path, locks: Path, ages: Ages) -> None:
    """Remove locks whose session is gone. A lock is as old as the first request of its session.

    Which locks are those of a ``beaker.cache`` in the same folder can't be told: there all stay.
    """
    needed = set()
    for file in files.glob("?/??/*.cache"):
        if _CACHE_FILE.fullmatch(file.name):
            return
        needed.add(_lock_of(file, locks))
    for lock in _old(locks, _LOCK_FILE, ages.started):
        if lock not in needed:
            with contextlib.suppress(OSError), _held(lock):
                lock.unlink()


def _lock_of(file: Path, locks: Path) -> Path:
    return Path(lock_path(str(locks), file.stem))


def _old(folder: Path, name: re.Pattern[str], age: float) -> Iterator[Path]:
    """Yield plain files, two folders deep, as Beaker lays them; nothing else is touched, and no link followed."""
    for path in folder.glob("?/??/*"):
        is_link = path.parent.is_symlink() or path.parent.parent.is_symlink()
        if name.fullmatch(path.name) and not is_link and _age(path) > age:
            yield path


def _age(path: Path) -> float:
    """Return the seconds since it was written; what is no plain file is never old."""
    try:
        found = path.lstat()
    except OSError:
        return 0.0
    return time.time() - found.st_mtime if stat.S_ISREG(found.st_mode) else 0.0


def _remove(file: Path, lock: Path, ages: Ages) -> str:
    """Remove a record with its lock, which is held meanwhile as Beaker holds it, so that no request writes it."""
    try:
        with _held(lock):
            ended = _ended(_content_of(file.read_bytes()), _age(file), ages)
            if ended:
                file.unlink()
                lock.unlink(missing_ok=True)
            return ended
    except OSError:  # a request has it, or it went meanwhile
        return ""


def _ended(content: Any, age: float, ages: Ages) -> str:
    """Say what has ended. A file of this name that was cut off, or emptied, is a session's, too."""
    is_garbage = content is GARBAGE and age > ages.session
    return SESSION if is_garbage else ages.ended(content, age)


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


# -- tables -------------------------------------------------------------------------------------------------


def prune_table(session: Mapping[str, Any], ages: Ages) -> Removed:
    """Delete ended records of Beaker's ``ext:database``, in small transactions.

    :raises StoreUnavailable: the database can't be asked.
    """
    import sqlalchemy as sa  # an extra, which these sessions need too

    with BACK_END:
        engine = sa.create_engine(session["url"])
        try:
            schema = session.get("schema_name")
            table = _table(str(session.get("table_name", "beaker_cache")), schema)
            if not sa.inspect(engine).has_table(table.name, schema=schema):
                return Counter()
            return Counter(ended for rows in _steps(engine, table, ages) for ended in _deleted(engine, table, rows))
        finally:
            engine.dispose()


def _table(name: str, schema: str | None) -> Any:
    """Describe Beaker's table, but with the bytes of ``data``: nothing here unpickles them as Beaker does."""
    import sqlalchemy as sa

    columns = (
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("namespace", sa.String(255)),
        sa.Column("accessed", sa.DateTime),
        sa.Column("data", sa.LargeBinary),
    )
    return sa.Table(name, sa.MetaData(), *columns, schema=schema)


def _steps(engine: Any, table: Any, ages: Ages) -> Iterator[list[tuple[str, Any]]]:
    """Yield rows that have ended, some at a time. Beaker writes local time without a zone: the margin is a day."""
    now, last, row = datetime.now(tz=None), -1, table.c  # noqa: DTZ005
    old = row.accessed < now - timedelta(seconds=min(ages.started, ages.session))
    while True:
        with engine.connect() as connection:
            query = table.select().where(row.id > last, old).order_by(row.id).limit(STEP)
            found = list(connection.execute(query))
        if not found:
            return
        last = found[-1].id
        judged = [(_row_ended(each, (now - each.accessed).total_seconds(), ages), each) for each in found]
        yield [(ended, each) for ended, each in judged if ended]


def _row_ended(row: Any, age: float, ages: Ages) -> str:
    return ages.ended(_content_of(row.data), age) if _SESSION_ID.fullmatch(row.namespace) else ""


def _deleted(engine: Any, table: Any, rows: list[tuple[str, Any]]) -> list[str]:
    """Delete each row unless it was written since."""
    with engine.begin() as connection:
        return [
            ended
            for ended, row in rows
            if connection.execute(table.delete().where(table.c.id == row.id, table.c.accessed == row.accessed)).rowcount
        ]


# -- Redis --------------------------------------------------------------------------------------------------


def end_keys(session: Mapping[str, Any], ages: Ages) -> int:
    """Give a time to live to each session in Redis that has none: those of before records ended by themselves.

    :returns: how many there were.
    :raises StoreUnavailable: Redis can't be asked.
    """
    import redis  # an extra, which these sessions need too

    with BACK_END:
        client: Any = redis.Redis.from_url(session["url"], decode_responses=True)
        try:
            keys = (
                key for key in client.scan_iter(match="beaker_cache:*:session", count=STEP) if _REDIS_KEY.fullmatch(key)
            )
            return sum(bool(client.expire(key, int(ages.session))) for key in keys if client.ttl(key) == -1)
        finally:
            client.close()
