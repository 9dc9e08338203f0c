"""A small Bottle site: a public page, a page for members, and accounts of its own.

``pip install bottle waitress``, then ``python bottle_app.py`` runs it on this machine, with a login service that
asks for no proof. With your own::

    CLEF_WSGI_BASE_URL=https://www.example.com CLEF_WSGI_SESSION__SECRET=... DATA_DIR=data \\
    CLEF_WSGI_PROVIDER__SERVER_URL=https://login.example.com \\
    CLEF_WSGI_PROVIDER__APP_ID=... CLEF_WSGI_PROVIDER__APP_SECRET=... gunicorn "bottle_app:app_from_environ()"

or ``CLEF_WSGI_PROVIDER=oidc`` with ``CLEF_WSGI_PROVIDER__ISSUER``, ``..._CLIENT_ID`` and ``..._CLIENT_SECRET``.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bottle import Bottle, redirect, request, run, template

from clef_wsgi import IdentityProvider, LogoutStore, settings_from_environ, wrap
from clef_wsgi.settings import load

WSGIApp = Callable[..., Iterable[bytes]]


def create_app(
    *,
    provider: IdentityProvider,
    logout_store: LogoutStore,
    base_url: str,
    session: dict[str, Any],
    database: str,
    **options: Any,
) -> WSGIApp:
    """The site. ``session`` holds Beaker's options, ``secret`` at least; ``options`` are those of ``wrap``.

    :param database: a file of SQLite's.
    """
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS members (number INTEGER PRIMARY KEY, clef_id TEXT NOT NULL UNIQUE)")

    app = Bottle()

    def page(title: str, **more: Any) -> str:
        user, login = request.environ["clef.user"], request.environ["clef.login"]
        button = login.sign_out_button(app.get_url("home")) if user else login.button()
        return str(template(PAGE, title=title, button=button, url=app.get_url, **{"member": None, **more}))

    def home() -> str:
        user = request.environ["clef.user"]
        return page(f"Hello, {user.get('first_name', 'member') if user else 'visitor'}.")

    def account() -> str:
        user = request.environ["clef.user"]  # never None here: /account is protected
        # Bottle has no session, so this one is Beaker's, and the middleware empties it when the login ends.
        note = request.environ["beaker.session"].get("note", "")
        return page("Your account", member=member_number(database, user["id"]), note=note)

    def keep_note() -> None:
        # Beaker's cookie is SameSite=Lax: another site can't post this form in a member's name.
        request.environ["beaker.session"]["note"] = request.forms.getunicode("note", "")
        request.environ["beaker.session"].save()
        redirect(app.get_url("account"), 303)

    app.route("/", name="home", callback=home)
    app.route("/account", name="account", callback=account)
    app.route("/account", method="POST", callback=keep_note)
    return wrap(
        app,
        provider=provider,
        logout_store=logout_store,
        base_url=base_url,
        session=session,
        **{"protect": ["/account"], **options},
    )


def member_number(database: str, clef_id: str) -> int:
    """This person's account, found or made. Names and e-mail addresses change; clef_id does not."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT INTO members (clef_id) VALUES (?) ON CONFLICT DO NOTHING", [clef_id])
        number: int = db.execute("SELECT number FROM members WHERE clef_id = ?", [clef_id]).fetchone()[0]
        return number


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{title}}</title>
<style>:root { color-scheme: light dark } body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem;
  font: 1.1rem/1.5 system-ui, sans-serif } nav { display: flex; gap: 1.5rem; align-items: baseline }
  input, button { font: inherit }</style>
<nav><a href="{{url('home')}}">Home</a> <a href="{{url('account')}}">Account</a> {{!button}}</nav>
<main><h1>{{title}}</h1>
% if member:
<dl><dt>Member number</dt><dd>{{member}}</dd><dt>Note</dt><dd>{{note}}</dd></dl>
<form method="post"><label>Note <input name="note" required></label> <button>Keep it</button></form>
% end
</main></html>
"""


def app_from_environ() -> WSGIApp:
    """The site with the settings of the environment. Logouts and sessions are in files, in ``DATA_DIR``."""
    data = Path(os.environ["DATA_DIR"])
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    logouts = {"store": "sqlite", "store.path": str(data / "logouts.db")}
    sessions = {"session.type": "file", "session.data_dir": str(data / "sessions")}
    found = load({"provider": "clef", **logouts, **sessions, **settings_from_environ(os.environ)})
    return create_app(
        provider=found.provider,
        logout_store=found.logout_store,
        session=dict(found.session or {}),
        database=str(data / "members.db"),
        **found.options,
    )


def main() -> None:
    """Serve the site; without settings on this machine, with a login service that asks for no proof."""
    from clef_wsgi.testing import LocalClef

    url = os.environ.setdefault("CLEF_WSGI_BASE_URL", "http://localhost:8000")
    with ExitStack() as stack:
        if not any(name.startswith("CLEF_WSGI_PROVIDER") for name in os.environ):
            clef = stack.enter_context(LocalClef())
            os.environ["CLEF_WSGI_PROVIDER__SERVER_URL"] = clef.url
            os.environ["CLEF_WSGI_PROVIDER__APP_ID"] = clef.app_id
            os.environ["CLEF_WSGI_PROVIDER__APP_SECRET"] = clef.app_secret
            os.environ["CLEF_WSGI_SESSION__SECRET"] = secrets.token_urlsafe(32)
            os.environ["DATA_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
            print(f"Log out everywhere at {clef.url}", flush=True)
        print(f"Open {url}", flush=True)
        run(app=app_from_environ(), server="waitress", port=urlsplit(url).port or 8000, threads=8, quiet=True)


if __name__ == "__main__":
    main()
