"""Check Beaker's sessions: the options in force, and a record written and read back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from wsgiref.util import setup_testing_defaults

from beaker.session import SessionObject

from clef_wsgi.base.deadline import Exchange
from clef_wsgi.beaker import private
from clef_wsgi.beaker.pruning import KINDS_THAT_END
from clef_wsgi.check.findings import About, Finding
from clef_wsgi.http import no_content
from clef_wsgi.settings import Deployment

SESSION = About("session")
_SHARED_STORES = ("sql", "redis")
_FEW_CHARACTERS = 12
PATIENCE_SECONDS = 10.0


def findings(
    settings: Mapping[str, str], deployment: Deployment, *, timeout_seconds: float = PATIENCE_SECONDS
) -> Iterator[Finding]:
    """Yield the findings about the sessions. Beaker's back-ends wait for ever unless they are told otherwise."""
    if deployment.session is None:
        yield SESSION.warning(
            "The settings say nothing of sessions: somebody else puts Beaker around the app, unseen here.",
            "Put session.* into these settings, and leave Beaker to clef_wsgi.",
        )
        return
    session = _session_of(deployment)
    options = private.effective_options(session)
    yield _secret([options["secret"], *options.get("old_secrets", ())])
    yield _cookie(options)
    yield _ages(options)
    yield _round_trip(session, timeout_seconds)
    yield from _place(options, settings["store"])


def _session_of(deployment: Deployment) -> SessionObject:
    """Return a new session, as a request gets it."""
    environ: dict[str, Any] = {"PATH_INFO": deployment.checked.webhook_path}
    setup_testing_defaults(environ)  # a GET, which the webhook answers without asking anybody
    for _ in deployment.wrap(no_content())(environ, lambda status, headers, exc_info=None: lambda body: None):
        pass
    return environ[deployment.options.get("session_key", "beaker.session")]


def _secret(secrets: Sequence[str]) -> Finding:
    if any(len(set(secret)) < _FEW_CHARACTERS for secret in secrets):
        return SESSION.warning(
            "The session's secret repeats itself: it does not look random.",
            'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))".',
        )
    older = f" (older ones that still verify cookies: {len(secrets) - 1})" if len(secrets) > 1 else ""
    return SESSION.ok(f"The session's secret has {len(secrets[0].encode())} bytes{older}.")


def _cookie(options: Mapping[str, Any]) -> Finding:
    flags = f"HttpOnly, SameSite={options['samesite']}, {options['data_serializer']}"
    if options["secure"]:
        return SESSION.ok(f"The cookie {options['key']} is Secure, {flags}.")
    return SESSION.warning(
        f"The cookie {options['key']} is not Secure ({flags}): base_url is plain http, which is for this machine only.",
        "On the real site let base_url begin with https://.",
    )


def _ages(options: Mapping[str, Any]) -> Finding:
    expires, timeout = options["cookie_expires"], options.get("timeout")
    idle = f"ends after {timeout} s without a request" if timeout else "does not end for being idle"
    return SESSION.ok(f"A browser keeps the cookie {_how_long(expires)}; a session {idle}.")


def _how_long(expires: Any) -> str:
    if isinstance(expires, timedelta):
        hours = expires.total_seconds() / 3600
        return f"for {expires.days} days" if expires.days else f"for {hours:g} hours"
    return "until it is closed" if expires else "for ever"


def _place(options: Mapping[str, Any], store: str) -> Iterator[Finding]:
    kind, is_shared = options["type"], store in _SHARED_STORES
    if kind == "memory":
        make = SESSION.error if is_shared else SESSION.warning
        yield make(
            "Sessions live in one process: several can't share a login, and a restart signs everybody out.",
            "Set session.type = file on one machine, ext:redis or ext:database on several.",
        )
    elif kind in ("file", "dbm") and is_shared:
        yield SESSION.warning(
            f"Sessions are files of this machine, and the store ({store}) is shared by several: "
            "a login is known on one machine only.",
            "With several machines set session.type = ext:redis or ext:database.",
        )
    else:
        yield SESSION.ok(f"Sessions are shared as far as the store is (type {kind}).")
    if kind not in KINDS_THAT_END:
        yield SESSION.warning(
            f"Nothing removes sessions of type {kind} when they have ended, not even clef-wsgi prune.",
            "Set session.type = file, ext:redis or ext:database.",
        )
    folder = str(options.get(f"{kind}_dir") or options.get("data_dir"))
    if kind in ("file", "dbm") and os.path.isdir(folder):
        yield _folder(folder)


def _folder(path: str) -> Finding:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o022:
        return SESSION.error(
            f"Other accounts can write into the sessions' directory (mode {mode:04o}): who can, owns the process.",
            "Close it: chmod 700.",
        )
    if mode & 0o077:
        return SESSION.warning(
            f"Other accounts can read the sessions' directory (mode {mode:04o}), and take over logins.",
            "Close it: chmod 700.",
        )
    return SESSION.ok(f"The sessions' directory is closed to other accounts (mode {mode:04o}).")


def _round_trip(session: SessionObject, timeout_seconds: float) -> Finding:
    try:
        is_kept = Exchange[bool](timeout_seconds).run(lambda: _is_kept(session))
    except Exception as error:  # noqa: BLE001  each back-end raises errors of its own
        return SESSION.error(
            f"Sessions can't be kept ({type(error).__name__}): nobody can sign in.",
            "See that the back-end runs, that its driver is installed, and that this account may write to it.",
        )
    if is_kept:
        return SESSION.ok("A session was kept, and read back.")
    return SESSION.error("A session was not there when it was read back: nobody can sign in.", "Look at its back-end.")


def _is_kept(session: SessionObject) -> bool:
    session["clef.check"] = 1
    session.save()
    session.persist()
    kept = session.get_by_id(session.id)
    is_kept = kept is not None and kept.get("clef.check") == 1
    session.delete()
    session.persist()
    return is_kept
