"""A small Pyramid site: a security policy, a public page, a page for members, and accounts of its own.

``pip install pyramid waitress``, then ``python pyramid_app.py`` runs it on this machine, with a login service that
asks for no proof. With your own::

    CLEF_WSGI_BASE_URL=https://www.example.com CLEF_WSGI_SESSION__SECRET=... DATA_DIR=data \\
    CLEF_WSGI_PROVIDER__SERVER_URL=https://login.example.com \\
    CLEF_WSGI_PROVIDER__APP_ID=... CLEF_WSGI_PROVIDER__APP_SECRET=... gunicorn "pyramid_app:app_from_environ()"

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
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import Allowed, Denied
from pyramid.session import SignedCookieSessionFactory
from zope.interface import implementer

from clef_wsgi import IdentityProvider, LogoutStore, settings_from_environ, wrap
from clef_wsgi.settings import load

WSGIApp = Callable[..., Iterable[bytes]]


@implementer(ISecurityPolicy)
class ClefSecurityPolicy:
    """A security policy: identities come from the middleware; permissions are up to the app."""

    def identity(self, request: Request) -> dict[str, Any] | None:
        user: dict[str, Any] | None = request.environ["clef.user"]
        return user

    def authenticated_userid(self, request: Request) -> str | None:
        user = self.identity(request)
        return user["id"] if user else None

    def permits(self, request: Request, context: object, permission: str) -> Allowed | Denied:
        return Denied("Nobody is signed in.") if self.identity(request) is None else Allowed("A member.")

    def remember(self, request: Request, userid: str, **kw: Any) -> list[tuple[str, str]]:
        return []  # a login begins at clef.login.url(), and nowhere else

    def forget(self, request: Request, **kw: Any) -> list[tuple[str, str]]:
        request.environ["clef.login"].end()
        return []


def follow_the_login(event: NewRequest) -> None:
    """Pyramid's session starts afresh when the login is another one, or none."""
    session, login = event.request.session, event.request.environ["clef.login"]
    if session.get("login") != login.id:
        session.invalidate()
        session["login"] = login.id


def create_site(*, base_url: str, secret: str, database: str) -> WSGIApp:
    """The site alone, to be wrapped. ``secret`` signs its own session; ``database`` is a file of SQLite's."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS members (number INTEGER PRIMARY KEY, clef_id TEXT NOT NULL UNIQUE)")

    own_sessions = SignedCookieSessionFactory(secret, httponly=True, secure=base_url.startswith("https:"))
    with Configurator(session_factory=own_sessions) as config:
        config.set_security_policy(ClefSecurityPolicy())
        config.set_default_csrf_options(require_csrf=True)
        config.add_subscriber(follow_the_login, NewRequest)
        # request.member: this person's account, found or made when a view asks for it
        config.add_request_method(
            lambda request: member_number(database, request.authenticated_userid), "member", reify=True
        )
        config.add_route("home", "/")
        config.add_route("account", "/account")
        config.add_view(home, route_name="home")
        config.add_view(account, route_name="account", permission="see", request_method="GET")
        config.add_view(keep_note, route_name="account", permission="edit", request_method="POST")
    app: WSGIApp = config.make_wsgi_app()
    return app


def create_app(
    *,
    provider: IdentityProvider,
    logout_store: LogoutStore,
    base_url: str,
    session: dict[str, Any],
    database: str,
    **options: Any,
) -> WSGIApp:
    """The site, wrapped. ``session`` holds Beaker's options, ``secret`` at least; ``options`` are those of ``wrap``."""
    return wrap(
        create_site(base_url=base_url, secret=session["secret"], database=database),
        provider=provider,
        logout_store=logout_store,
        base_url=base_url,
        session=session,
        **{"protect": ["/account"], **options},
    )


def site_factory(global_conf: dict[str, str], *, base_url: str, secret_file: str, database: str) -> WSGIApp:
    """The site alone, as the ``[app:site]`` of pyramid.ini has it; there ``[filter:clef]`` wraps it."""
    return create_site(base_url=base_url, secret=Path(secret_file).read_text("utf-8").strip(), database=database)


def home(request: Request) -> Response:
    user = request.identity
    return page(request, f"Hello, {user.get('first_name', 'member') if user else 'visitor'}.", "")


def account(request: Request) -> Response:
    lines = request.member, request.session.get("note", ""), get_csrf_token(request)
    return page(request, "Your account", FORM.format(*map(escape, map(str, lines))))


def keep_note(request: Request) -> Response:
    request.session["note"] = request.POST.get("note", "")
    return HTTPSeeOther(request.route_url("account"))


def member_number(database: str, clef_id: str) -> int:
    """This person's account, found or made. Names and e-mail addresses change; clef_id does not."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT INTO members (clef_id) VALUES (?) ON CONFLICT DO NOTHING", [clef_id])
        number: int = db.execute("SELECT number FROM members WHERE clef_id = ?", [clef_id]).fetchone()[0]
        return number


def page(request: Request, title: str, body: str) -> Response:
    login, urls = request.environ["clef.login"], {name: request.route_path(name) for name in ("home", "account")}
    button = login.sign_out_button(urls["home"]) if request.identity else login.button()
    return Response(PAGE.substitute(urls, title=escape(title), button=button, body=body))


PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>$title</title>
<style>:root { color-scheme: light dark } body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem;
  font: 1.1rem/1.5 system-ui, sans-serif } nav { display: flex; gap: 1.5rem; align-items: baseline }
  input, button { font: inherit }</style>
<nav><a href="$home">Home</a> <a href="$account">Account</a> $button</nav>
<main><h1>$title</h1>$body</main></html>
""")

FORM = """<dl><dt>Member number</dt><dd>{}</dd><dt>Note</dt><dd>{}</dd></dl>
<form method="post"><input type="hidden" name="csrf_token" value="{}">
<label>Note <input name="note" required></label> <button>Keep it</button></form>"""


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
