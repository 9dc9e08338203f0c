"""A small site in plain WSGI: a public page, a page for members, and accounts of its own.

In the environment that ``make demo`` has made ``python plain_wsgi.py`` runs it on this machine, with a login service
that asks for no proof. With your own::

    CLEF_WSGI_BASE_URL=https://www.example.com CLEF_WSGI_SESSION__SECRET=... DATA_DIR=data \\
    CLEF_WSGI_PROVIDER__SERVER_URL=https://login.example.com \\
    CLEF_WSGI_PROVIDER__APP_ID=... CLEF_WSGI_PROVIDER__APP_SECRET=... gunicorn "plain_wsgi:app_from_environ()"

or ``CLEF_WSGI_PROVIDER=oidc`` with ``CLEF_WSGI_PROVIDER__ISSUER``, ``..._CLIENT_ID`` and ``..._CLIENT_SECRET``.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

from clef_wsgi import IdentityProvider, LogoutStore, settings_from_environ, wrap
from clef_wsgi.settings import load

Environ = dict[str, Any]
WSGIApp = Callable[..., Iterable[bytes]]
MAX_FORM_BYTES = 10_000


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

    def on_login(environ: Environ, user: dict[str, Any]) -> None:
        """Find or create the account, once per login. What is added here is in clef.user until the logout."""
        user["member"] = member_number(database, user["id"])

    return wrap(
        app,
        provider=provider,
        logout_store=logout_store,
        base_url=base_url,
        session=session,
        on_login=on_login,
        **{"protect": ["/account"], **options},
    )


def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    view = {"/": home, "": home, "/account": account}.get(environ["PATH_INFO"], missing)
    status, body = view(environ)
    headers = {"Location": environ["SCRIPT_NAME"] + "/account"} if status.startswith("303") else {}
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), *headers.items()])
    return [body.encode()]


def home(environ: Environ) -> tuple[str, str]:
    user = environ["clef.user"]
    return "200 OK", page(environ, f"Hello, {user.get('first_name', 'member') if user else 'visitor'}.", "")


def account(environ: Environ) -> tuple[str, str]:
    # There is no session but Beaker's, and the middleware empties that when the login ends.
    session = environ["beaker.session"]
    if environ["REQUEST_METHOD"] == "POST":
        session["note"] = posted(environ, "note")
        session.save()
        return "303 See Other", ""
    user = environ["clef.user"]  # never None here: /account is protected
    lines = {"Member number": user["member"], "Note": session.get("note", "")}
    return "200 OK", page(environ, "Your account", FORM.format(*map(escape, map(str, lines.values()))))


def missing(environ: Environ) -> tuple[str, str]:
    return "404 Not Found", page(environ, "There is no such page.", "")


def posted(environ: Environ, name: str) -> str:
    """A field of the form, or nothing. The session's cookie is SameSite=Lax: other sites can't post for a member."""
    length = environ.get("CONTENT_LENGTH") or "0"
    body: bytes = environ["wsgi.input"].read(min(int(length), MAX_FORM_BYTES)) if length.isdecimal() else b""
    return parse_qs(body.decode(errors="replace")).get(name, [""])[0]


def member_number(database: str, clef_id: str) -> int:
    """This person's account, found or made. Names and e-mail addresses change; clef_id does not."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT INTO members (clef_id) VALUES (?) ON CONFLICT DO NOTHING", [clef_id])
        number: int = db.execute("SELECT number FROM members WHERE clef_id = ?", [clef_id]).fetchone()[0]
        return number


def page(environ: Environ, title: str, body: str) -> str:
    login, root = environ["clef.login"], environ["SCRIPT_NAME"]
    button = login.sign_out_button(root + "/") if environ["clef.user"] else login.button()
    return PAGE.substitute(title=escape(title), button=button, body=body, root=escape(root))


PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>$title</title>
<style>:root { color-scheme: light dark } body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem;
  font: 1.1rem/1.5 system-ui, sans-serif } nav { display: flex; gap: 1.5rem; align-items: baseline }
  input, button { font: inherit }</style>
<nav><a href="$root/">Home</a> <a href="$root/account">Account</a> $button</nav>
<main><h1>$title</h1>$body</main></html>
""")

FORM = """<dl><dt>Member number</dt><dd>{}</dd><dt>Note</dt><dd>{}</dd></dl>
<form method="post"><label>Note <input name="note" required></label> <button>Keep it</button></form>"""


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
    from waitress import serve

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
        serve(app_from_environ(), host="localhost", port=urlsplit(url).port or 8000, threads=8)


if __name__ == "__main__":
    main()
