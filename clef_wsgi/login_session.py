"""The Beaker session: the only file that knows its keys and Beaker's ways of reading and writing.

Each middleware has two entries of its own in a session, both JSON: the login, and the logins that were started
(state -> next, memo, at). Their names end in a digest of the site and the provider, so that two sites, or two
providers of one site, never take each other's login or state for theirs (mix-up, RFC 9700, section 4.4). This file
knows nothing of stores, providers or answers; every trouble of the session's back-end leaves it as
:class:`StoreUnavailable`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict, cast

from beaker.session import SessionObject

from ._session_cookie import SessionCookie, session_cookie
from .errors import StoreUnavailable
from .interfaces import MAX_USER_ID_LENGTH

ENTRY_PREFIX = "clef.login."
_PENDING_PREFIX = "clef.started."
_PREFIXES = (ENTRY_PREFIX, _PENDING_PREFIX)
_OLD_RECORD = "clef.record"
"""A login of before 0.2, which named no site and no provider: it is over."""
LOGIN_KEY_PREFIX = "login:"
MAX_PENDING = 20
_CLOCK_SLACK = 2 * 24 * 3600
"""Seconds that the clock may have been set back since a login: more than a day, since a day happens."""


class Record(TypedDict):
    """A login. ``keys[0]`` is the login's own key; ``started`` is the store's stamp, the times are ``clock``'s."""

    user: dict[str, Any]
    keys: list[str]
    started: int
    logged_in_at: float
    expires_at: float


class Pending(TypedDict):
    """A login that was started: ``next`` is a path of this site or None, ``at`` is ``clock``'s time."""

    next: str | None
    memo: dict[str, Any]
    at: float


_RECORD_FIELDS = tuple(Record.__annotations__)
_PENDING_FIELDS = Pending.__annotations__.keys()


def entry_name(base_url: str, issuer: str | None) -> str:
    """The name of a middleware's login in a session."""
    return ENTRY_PREFIX + hashlib.sha256(json.dumps([base_url, issuer]).encode()).hexdigest()[:32]


def effective_options(session: SessionObject) -> Mapping[str, Any]:
    """Beaker's options in force, by their names without prefix. Reading them loads no session."""
    return cast("Mapping[str, Any]", vars(session)["_params"])


def cookie(options: Mapping[str, Any]) -> SessionCookie:
    """The reader of the session cookie, by Beaker's options in force."""
    return session_cookie(options["key"], (options["secret"], *options.get("old_secrets", ())))


# -- reading ----------------------------------------------------------------------------------------------


def read(session: SessionObject, entry: str) -> Record | None:
    """The login in this session, dead or alive, or None: a record that is not exactly of the shape is no login."""
    try:
        record = session.get(entry)
    except Exception as error:  # each back-end raises errors of its own: Redis, SQLAlchemy, OSError
        raise _unavailable() from error
    return record if record is not None and _is_record(record) else None


def holds_anything_of_a_login(session: SessionObject, entry: str) -> bool:
    """After :func:`read`: whether there is a record at all, well-formed or not. Another middleware's does not count."""
    return entry in session or _OLD_RECORD in session


def is_in_time(record: Record, now: float, max_login_age: float) -> bool:
    """Whether the login is young enough, by a clock that may have been set back a little since."""
    begun = record["logged_in_at"]
    return 0 < begun <= now + _CLOCK_SLACK and now < begun + max_login_age and now < record["expires_at"]


def is_fresh(pending: Pending, now: float, lifetime: float) -> bool:
    """Whether a started login is still usable, by clocks that may differ between processes."""
    return pending["at"] - _CLOCK_SLACK <= now < pending["at"] + lifetime


def _is_record(record: Any) -> bool:
    # Few and cheap steps: this runs at every request of somebody signed in.
    if type(record) is not dict or tuple(record) != _RECORD_FIELDS:
        return False
    user, keys, started, logged_in_at, expires_at = record.values()
    if not (type(user) is dict and type(keys) is list and type(started) is int and started > 0):
        return False
    if not (type(logged_in_at) is float and type(expires_at) is float and is_user_id(user.get("id"))):
        return False
    try:
        return bool("".join(keys)) and keys[0].startswith(LOGIN_KEY_PREFIX)  # join takes text alone
    except TypeError:  # a key that is no text
        return False


def is_user_id(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= MAX_USER_ID_LENGTH


def are_keys(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(key, str) for key in value)


# -- logins under way -------------------------------------------------------------------------------------


def remember(session: SessionObject, entry: str, state: str, pending: Pending) -> None:
    """Keeps a started login; beyond :data:`MAX_PENDING` the oldest is dropped."""
    with _written(session):
        entries = {**_entries(session, entry), state: pending}
        session[_pending_of(entry)] = dict(list(entries.items())[-MAX_PENDING:])


def spend(session: SessionObject, entry: str, state: str) -> Pending | None:
    """Takes a started login out, and writes that down at once, before anybody speaks to the network."""
    try:
        entries = _entries(session, entry)
    except Exception as error:  # as in read
        raise _unavailable() from error
    if state not in entries:
        return None
    pending = entries.pop(state)
    with _written(session):
        session[_pending_of(entry)] = entries
    return cast("Pending", pending) if _is_pending(pending) else None


def _is_pending(pending: Any) -> bool:
    return (
        isinstance(pending, dict)
        and pending.keys() == _PENDING_FIELDS
        and (pending["next"] is None or isinstance(pending["next"], str))
        and isinstance(pending["memo"], dict)
        and type(pending["at"]) is float
    )


def _pending_of(entry: str) -> str:
    return _PENDING_PREFIX + entry.removeprefix(ENTRY_PREFIX)


def _entries(session: SessionObject, entry: str) -> dict[str, Any]:
    entries = session.get(_pending_of(entry))
    return dict(entries) if isinstance(entries, dict) else {}


# -- writing ----------------------------------------------------------------------------------------------


def forget(session: SessionObject) -> None:
    """Drops what was loaded: the next access reads the back-end again; without one Beaker writes nothing at the end.

    Without it a callback would overwrite what another tab wrote while the network was asked. And with
    ``save_accessed_time`` Beaker ends every request by writing back what it loaded at its beginning.
    """
    vars(session).update(_sess=None, _dirty=False)


def replace(session: SessionObject, entry: str, record: Record, *, keep: bool) -> None:
    """Writes a login under a new session id, and leaves nothing under the old one but logins under way.

    ``regenerate_id`` leaves the old record in the store with its old content, for whoever knows the old id.
    Logins under way stay there, since another tab's callback may be on its way with the old cookie. So does what
    other middlewares have: a cookie that is theirs, too, must not lose its login.

    :param keep: whether the content of before goes along: what an anonymous visitor had does, what another
        person had does not.
    """
    others = _of_others(session, entry)
    with _written(session):
        content = dict(session) if keep else others
        if keep and others:
            session.pop(entry, None)
        else:
            _clear(session, {name: value for name, value in content.items() if name.startswith(_PENDING_PREFIX)})
    with _written(session):
        session.update(content)
        session[entry] = record
        session.regenerate_id()


def empty(session: SessionObject, entry: str) -> bool:
    """Empties the whole session but for other middlewares' logins: the next person here sees nothing of the last.

    A courtesy, never the mechanism: a slow request that loaded the session before writes the old content back
    when it ends. Returns False when it could not be written; this request sees an empty session all the same.
    """
    others = _of_others(session, entry)
    try:
        with _written(session):
            _clear(session, others)
    except StoreUnavailable:
        _clear(session, others)
        return False
    return True


def _of_others(session: SessionObject, entry: str) -> dict[str, Any]:
    own = (entry, _pending_of(entry))
    return {name: session[name] for name in session if name.startswith(_PREFIXES) and name not in own}


def _clear(session: SessionObject, rest: Mapping[str, Any]) -> None:
    session.clear()
    # Beaker's own ``created`` and ``last_accessed`` raise KeyError without these.
    session["_creation_time"] = session["_accessed_time"] = time.time()
    session.update(rest)


@contextmanager
def _written(session: SessionObject) -> Iterator[None]:
    """Writes the session at once: Beaker would in ``start_response``, where a failure can't be answered."""
    try:
        yield
        session.save()
        session.persist()
        # What is written is written: else Beaker writes it again at the end, over what came in between.
        session.accessed_dict = dict(session)
        vars(session)["_dirty"] = False
    except Exception as error:  # as in read
        vars(session)["_dirty"] = False
        raise _unavailable() from error


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("The session can't be read or written right now.", reason="session_unavailable")
