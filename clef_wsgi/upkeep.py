"""``clef-wsgi prune`` and ``clef-wsgi sign-out``, on a deployment's own settings.

Knows nothing of the command line, and nothing of any single store.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from clef_wsgi.errors import ConfigurationError
from clef_wsgi.interfaces import EVERYONE
from clef_wsgi.login_session import is_user_id
from clef_wsgi.middleware import ClefMiddleware
from clef_wsgi.settings import Deployment, load

MARGIN_SECONDS = 24 * 3600.0
"""Ages are counted by clocks that may differ."""
_SESSION_FILE = re.compile(r"[0-9a-f]{32,64}\.cache")
_LOCK_FILE = re.compile(r"[0-9a-f]{40}\.lock")

Say = Callable[[str], object]


def prune(settings: Mapping[str, str], say: Say) -> None:
    """Drops what no living login can need: old records of logouts, and old session files with their locks.

    :raises ConfigurationError: the settings are faulty.
    :raises StoreUnavailable: the store can't be asked.
    """
    with closing_store(load(settings)) as deployment:
        age = _max_login_age(deployment) + MARGIN_SECONDS
        if getattr(deployment.logout_store, "single_process", False):
            say("The store lives in the site's own process: nothing of it can be pruned from here.")
        else:
            dropped = deployment.logout_store.prune(age)
            say(f"{dropped} records of logouts older than {_days(age)} were dropped.")
        if deployment.session is not None and _keeps_files(deployment.session):
            age = max(age, _cookie_age(deployment.session) + MARGIN_SECONDS)
            say(f"{_prune_files(deployment.session, age)} session files older than {_days(age)} were removed.")


def sign_out(settings: Mapping[str, str], user_id: str | None, say: Say) -> None:
    """Ends the logins of one person, or with ``None`` of everyone.

    :param user_id: as in ``clef.user["id"]``, which is text whatever the provider sent.
    :raises ConfigurationError: the settings are faulty, the id is none, or the store is in another process.
    :raises StoreUnavailable: the store can't be asked; nothing has been ended.
    """
    with closing_store(load(settings)) as deployment:
        store = deployment.logout_store
        if getattr(store, "single_process", False):
            raise ConfigurationError("The store lives in the site's own process, out of reach: restart the site.")
        store.record_logout([EVERYONE if user_id is None else _person(deployment, user_id)])
        whose = "Every login" if user_id is None else "Every login of this person"
        delay = getattr(store, "max_staleness", 0)
        say(f"{whose} is over at its next request{f', at most {delay:g} s from now' if delay else ''}.")


@contextlib.contextmanager
def closing_store(deployment: Deployment) -> Iterator[Deployment]:
    """A deployment whose store's connections are closed at the end, where it has any."""
    try:
        yield deployment
    finally:
        getattr(deployment.logout_store, "close", lambda: None)()


def _person(deployment: Deployment, user_id: str) -> str:
    if not is_user_id(user_id) or not user_id.isprintable():
        raise ConfigurationError('--user takes an id as clef.user["id"] has it: 1 to 512 characters.')
    return deployment.provider.user_key(user_id)


def _max_login_age(deployment: Deployment) -> float:
    plugs: dict[str, Any] = {"provider": deployment.provider, "logout_store": deployment.logout_store}
    seconds: float = ClefMiddleware(_no_app, **plugs, **deployment.options).max_login_age
    return seconds


def _no_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    raise NotImplementedError  # it is never called: the middleware tells its options, and is thrown away


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:.4g} days"


# -- session files ----------------------------------------------------------------------------------------


def _keeps_files(session: Mapping[str, Any]) -> bool:
    return bool(session.get("type", "file" if session.get("data_dir") else "memory") == "file")


def _cookie_age(session: Mapping[str, Any]) -> float:
    expires = session.get("cookie_expires")
    return expires.total_seconds() if isinstance(expires, timedelta) else 0.0


def _prune_files(session: Mapping[str, Any], age: float) -> int:
    data_dir = str(session.get("data_dir", ""))
    files = Path(session.get("file_dir") or os.path.join(data_dir, "container_file"))
    locks = Path(session.get("lock_dir") or os.path.join(data_dir, "container_file_lock"))
    cut = time.time() - age
    removed = sum([_remove(file, _lock_of(file, locks), cut) for file in _old(files, _SESSION_FILE, cut)])
    # A lock is as old as the first request of its session: it goes when the session is gone.
    needed = {_lock_of(file, locks) for file in files.glob("?/??/*.cache")}
    for lock in _old(locks, _LOCK_FILE, cut):
        if lock not in needed:
            _remove(lock, lock, cut)
    return removed


def _lock_of(file: Path, locks: Path) -> Path:
    """Where Beaker locks a session: by the SHA-1 of its id, which is the name of its file."""
    name = hashlib.sha1(file.stem.encode(), usedforsecurity=False).hexdigest()
    return locks / name[0] / name[:2] / f"{name}.lock"


def _old(folder: Path, name: re.Pattern[str], cut: float) -> Iterator[Path]:
    """Plain files, two folders deep, as Beaker lays them; nothing else is touched, and no link followed."""
    for path in list(folder.glob("?/??/*")):
        is_link = path.parent.is_symlink() or path.parent.parent.is_symlink()
        if name.fullmatch(path.name) and not is_link and _is_old(path, cut):
            yield path


def _is_old(path: Path, cut: float) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_mtime < cut


def _remove(file: Path, lock: Path, cut: float) -> bool:
    """Removes a session with its lock, which is held meanwhile as Beaker holds it, so that no request writes it."""
    try:
        with _held(lock):
            if not _is_old(file, cut):
                return False
            file.unlink()
            lock.unlink(missing_ok=True)
            return True
    except OSError:  # a request has it, or it went meanwhile
        return False


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
