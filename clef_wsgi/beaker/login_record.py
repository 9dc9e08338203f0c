"""Read and write the login in a Beaker session.

Each middleware has one entry of its own in a session, as JSON: its login. The entry's name ends in a digest of site
and provider, so that two sites, or two providers of one site, never take each other's login for theirs (mix-up,
RFC 9700, section 4.4). Every error of the session's back-end leaves here as :class:`StoreUnavailable`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict

from beaker.session import SessionObject

from clef_wsgi.base.errors import StoreUnavailable
from clef_wsgi.interfaces import is_user_id

from . import private
from .cookie import SessionCookie, session_cookie
from .session_class import BACK_END, EARLIER, ENTRY_PREFIX

_OLD_RECORD = "clef.record"
"""The entry of logins before 0.2, which named no site and no provider: they have ended."""
LOGIN_KEY_PREFIX = "login:"
_CLOCK_SLACK = 2 * 24 * 3600
"""Seconds that the clock may have been set back since a login: more than a day, since a day happens."""


class Record(TypedDict):
    """A login. ``keys[0]`` is the login's own key; ``started`` is the store's stamp, the times are ``clock``'s."""

    user: dict[str, Any]
    keys: list[str]
    started: int
    logged_in_at: float
    expires_at: float


_RECORD_FIELDS = tuple(Record.__annotations__)


def entry_name(base_url: str, provider: object) -> str:
    """Return the name of a middleware's login in a session.

    :param provider: two clients of one issuer are told apart by ``client_id``, where the provider has one: an ID token
        for one of them is none for the other (OpenID Connect Core 1.0, section 3.1.3.7, ``aud``).
    """
    names = [getattr(provider, name, None) for name in ("issuer", "client_id")]
    texts = [name for name in names if isinstance(name, str)]
    return ENTRY_PREFIX + hashlib.sha256(json.dumps([base_url, *texts]).encode()).hexdigest()[:32]


def carries_cookie(session: SessionObject, cookie: SessionCookie, header: str) -> bool:
    """Verify the request's session cookie, once: the session takes the id from here when it is loaded."""
    options = private.effective_options(session)
    options["verified"] = verified = cookie.verify(header, options.get("verified"))
    return verified.session_id is not None


def cookie(options: Mapping[str, Any]) -> SessionCookie:
    """Return the reader of the session cookie, by Beaker's options in force."""
    return session_cookie(options["key"], (options["secret"], *options.get("old_secrets", ())))


# -- reading ----------------------------------------------------------------------------------------------


def read(session: SessionObject, entry: str) -> Record | None:
    """Return the login in this session, ended or not, or None: a record not exactly of the shape is no login."""
    with BACK_END:
        record = session.get(entry)
    return record if record is not None and _is_record(record) else None


def holds_anything_of_a_login(session: SessionObject, entry: str) -> bool:
    """After :func:`read`, return whether there is a record at all, well-formed or not. Another middleware's is none."""
    return entry in session or _OLD_RECORD in session


def is_in_time(record: Record, now: float, max_login_age: float) -> bool:
    """Return whether the login is young enough, by a clock that may have been set back a little since."""
    begun = record["logged_in_at"]
    return 0 < begun <= now + _CLOCK_SLACK and now < begun + max_login_age and now < record["expires_at"]


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


# -- writing ----------------------------------------------------------------------------------------------


def replace(session: SessionObject, entry: str, record: Record, *, keep: bool, more: Mapping[str, Any]) -> None:
    """Write a login under a new session id, and leave nothing under the old one (session fixation).

    ``regenerate_id`` leaves the old record in the store with its old content, for whoever knows the old id. Only
    where another middleware has a login in it, that and what the apps keep stay: the cookie is theirs as well.

    :param keep: whether the content of before goes along: what an anonymous visitor had does, what another
        person had does not.
    :param more: what else belongs in the session.
    """
    others = _of_others(session, entry)
    content = dict(session) if keep else others
    if not session.is_new:
        _leave(session, entry, others, keep=keep)
    with _written(session):
        session.update({**content, **more, entry: record})
        session.regenerate_id()


def _leave(session: SessionObject, entry: str, others: Mapping[str, Any], *, keep: bool) -> None:
    with _written(session):
        if keep and others:
            session.pop(entry, None)
        else:
            _clear(session, others)


def empty(session: SessionObject, entry: str) -> bool:
    """Empty the session, all but other middlewares' logins: the next person here sees nothing of the last.

    A courtesy, never the mechanism: a slow request that loaded the session before writes the old content back
    when it ends. The cookie is sent once more, since Chromium keeps pages for Back, those with ``no-store`` too, until
    a cookie of the site is set.

    :returns: False when it could not be written; this request sees an empty session all the same.
    """
    others = _of_others(session, entry)
    session.send_cookie()
    try:
        with _written(session):
            _clear(session, others)
    except StoreUnavailable:
        return False
    return True


def _of_others(session: SessionObject, entry: str) -> dict[str, Any]:
    others = {name: session[name] for name in session if name.startswith(ENTRY_PREFIX) and name != entry}
    return {**others, **({EARLIER: session[EARLIER]} if others and EARLIER in session else {})}


def _clear(session: SessionObject, rest: Mapping[str, Any]) -> None:
    session.clear()
    private.set_times(session)
    session.update(rest)


@contextmanager
def _written(session: SessionObject) -> Iterator[None]:
    """Write the session immediately: Beaker would in ``start_response``, where a failure can't be answered."""
    try:
        with BACK_END:
            yield
            session.save()
            session.persist()
            # What is written is written: else Beaker writes it again at the end, over what came in between.
            session.accessed_dict = dict(session)
    finally:
        private.mark_saved(session)
