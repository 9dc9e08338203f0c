"""Run ``clef-wsgi prune`` and ``clef-wsgi sign-out`` on a deployment's own settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.beaker import pruning
from clef_wsgi.beaker.pruning import SESSION, STARTED, Ages
from clef_wsgi.interfaces import EVERYONE, is_user_id
from clef_wsgi.settings import Deployment, load

Say = Callable[[str], object]


def prune(settings: Mapping[str, str], say: Say) -> None:
    """Drop what no active login can need: old records of logouts, and session records that have ended.

    :raises ConfigurationError: the settings are faulty.
    :raises StoreUnavailable: the store, or the sessions' back-end, can't be asked.
    """
    with closing_store(load(settings)) as deployment:
        options = deployment.checked
        age = options.max_login_age + pruning.MARGIN
        if getattr(deployment.logout_store, "single_process", False):
            say("The store lives in the site's own process: nothing of it can be pruned from here.")
        else:
            dropped = deployment.logout_store.prune(age)
            say(f"{dropped} records of logouts older than {_days(age)} were dropped.")
        if deployment.session is not None:
            ages = Ages.of(deployment.session, options.max_login_age, options.state_lifetime, options.entry)
            _prune_sessions(deployment.session, ages, say)


def _prune_sessions(session: Mapping[str, Any], ages: Ages, say: Say) -> None:
    kind = session.get("type") or ("file" if session.get("data_dir") else "memory")
    if kind == "ext:redis":
        say(f"{pruning.end_keys(session, ages)} sessions in Redis had no end, and have one now.")
    if kind not in pruning.KINDS_THAT_END:
        say(f"Sessions of type {kind} are not removed from here: use file, ext:redis or ext:database.")
    if kind not in ("file", "ext:database"):
        return
    prune, what = {
        "file": (pruning.prune_files, "session files"),
        "ext:database": (pruning.prune_table, "sessions in the database"),
    }[kind]
    removed = prune(session, ages)
    say(f"{removed[SESSION]} {what} older than {_days(ages.session)} were removed.")
    if removed[STARTED]:
        say(f"{removed[STARTED]} that hold no login, older than {_days(ages.started)}, were removed.")


def sign_out(settings: Mapping[str, str], user_id: str | None, say: Say) -> None:
    """End the logins of one person, or with ``None`` of everyone.

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
    """Close the store's connections at the end, where it has any."""
    try:
        yield deployment
    finally:
        getattr(deployment.logout_store, "close", lambda: None)()


def _person(deployment: Deployment, user_id: str) -> str:
    if not is_user_id(user_id) or not user_id.isprintable():
        raise ConfigurationError('--user takes an id as clef.user["id"] has it: 1 to 512 characters.')
    return deployment.provider.user_key(user_id)


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:.4g} days"
