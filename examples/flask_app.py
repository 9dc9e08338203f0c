"""A small Flask site: a public page, a page for members, and accounts of its own.

In the environment that ``make demo`` has made ``python flask_app.py`` runs it on this machine, with a login service
that asks for no proof. With your own::

    CLEF_WSGI_BASE_URL=https://www.example.com CLEF_WSGI_SESSION__SECRET=... DATA_DIR=data \\
    CLEF_WSGI_PROVIDER__SERVER_URL=https://login.example.com \\
    CLEF_WSGI_PROVIDER__APP_ID=... CLEF_WSGI_PROVIDER__APP_SECRET=... gunicorn "flask_app:app_from_environ()"

or ``CLEF_WSGI_PROVIDER=oidc`` with ``CLEF_WSGI_PROVIDER__ISSUER``, ``..._CLIENT_ID`` and ``..._CLIENT_SECRET``.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import flask
from flask import Flask, abort, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from jinja2 import DictLoader
from sqlalchemy import Column, DateTime, Integer, MetaData, Row, String, Table, create_engine, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool
from werkzeug.local import LocalProxy

from clef_wsgi import IdentityProvider, LogoutStore, settings_from_environ, wrap
from clef_wsgi.settings import load

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

current_user: Any = LocalProxy(lambda: request.environ["clef.user"])
"""The user who is signed in: a dict, or false."""

metadata = MetaData()
accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    # What Clef calls the person. Names and e-mail addresses change; this does not.
    Column("clef_id", String(512), nullable=False, unique=True),
    Column("joined_at", DateTime, nullable=False),
    Column("visits", Integer, nullable=False, default=0),
)


def create_app(
    *,
    provider: IdentityProvider,
    logout_store: LogoutStore,
    base_url: str,
    session: dict[str, Any],
    database_url: str,
    **options: Any,
) -> Flask:
    """The site. ``session`` holds Beaker's options, ``secret`` at least; ``options`` are those of ``wrap``."""
    app = Flask(__name__)
    # For Flask's own session. Its cookie is SameSite=Lax: another site can't post a form in a member's name.
    app.config.update(
        SECRET_KEY=session["secret"],
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=base_url.startswith("https:"),
    )
    app.jinja_loader = DictLoader(
        {"layout.html": LAYOUT, "home.html": HOME, "account.html": ACCOUNT, "missing.html": MISSING}
    )
    server_url = getattr(provider, "server_url", "") or getattr(provider, "issuer", "")
    current_login = LocalProxy(lambda: request.environ["clef.login"])
    app.jinja_env.globals.update(user=current_user, login=current_login, server_url=server_url)
    engine = create_engine(database_url, poolclass=NullPool)
    metadata.create_all(engine)

    @app.before_request
    def follow_the_login() -> None:
        """Flask's own session starts afresh when the login is another one, or none."""
        login = request.environ["clef.login"]
        if flask.session.get("login") != login.id:
            flask.session.clear()
            flask.session["login"] = login.id

    @app.get("/")
    def home() -> str:
        return render_template("home.html")

    @app.errorhandler(404)
    def missing(_: Exception) -> ResponseReturnValue:
        return render_template("missing.html"), 404

    @app.get("/account")
    @members_only
    def account() -> str:
        names = ("logged_in_at", "authenticated_at")
        times = {name: datetime.fromtimestamp(current_user[name], timezone.utc) for name in names}
        return render_template("account.html", account=visited(engine, current_user["id"]), times=times)

    @app.post("/account")
    @members_only
    def keep_note() -> ResponseReturnValue:
        flask.session["note"] = request.form.get("note", "")
        return redirect(url_for("account"), 303)

    @app.get("/whoami")
    def whoami() -> ResponseReturnValue:
        return jsonify(request.environ["clef.user"])

    app.wsgi_app = wrap(  # type: ignore[assignment, method-assign]
        app.wsgi_app,
        provider=provider,
        logout_store=logout_store,
        base_url=base_url,
        session=session,
        **{"protect": ["/account"], **options},
    )
    return app


def members_only(view: View) -> View:
    """For members, whatever path leads to the view: ``protect``, which asks for a login, goes by the path."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        return view(*args, **kwargs) if current_user else abort(401)

    return guarded  # type: ignore[return-value]


def visited(engine: Engine, clef_id: str) -> Row[Any]:
    """This person's account, found or made."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    theirs = accounts.c.clef_id == clef_id
    with engine.begin() as db:
        db.execute(insert(accounts).values(clef_id=clef_id, joined_at=now).on_conflict_do_nothing())
        db.execute(update(accounts).where(theirs).values(visits=accounts.c.visits + 1))
        return db.execute(select(accounts).where(theirs)).one()


LAYOUT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{% block title %}{% endblock %} - Tidewater</title>
<style>
:root { color-scheme: light dark; --back: #f4f1ea; --card: #fffdf8; --text: #1d2a33; --soft: #56646c;
  --line: #ddd6c8; --sea: #0d5c63; }
@media (prefers-color-scheme: dark) { :root { --back: #0e171c; --card: #162228; --text: #e8eef0;
  --soft: #a3b4bb; --line: #2b3b43; --sea: #7fd6d0; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; color: var(--text);
  background: var(--back); font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, main, footer { width: 100%; max-width: 60rem; margin: 0 auto; padding: 1.25rem; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .75rem 1.5rem; }
header .brand { font-weight: 700; color: var(--text); text-decoration: none; margin-right: auto; }
main { flex: 1; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .9375rem; border-top: 1px solid var(--line); }
h1 { font-size: clamp(2rem, 7vw, 3.25rem); line-height: 1.1; letter-spacing: -.02em; margin: 0 0 1rem; }
h2 { font-size: 1.125rem; margin: 0 0 .5rem; }
p { max-width: 36rem; margin: 0; }
.hero { padding: clamp(1.75rem, 6vw, 4rem); margin-bottom: 1.25rem; border-radius: 1.5rem; color: #fff;
  background: radial-gradient(circle at 85% 130%, #277c7e 0 30%, #1f7377 30.2% 45%, #125e64 45.2% 60%, #0b4a52 60.2%); }
a { color: var(--sea); }
form { margin: 0; }
.card form { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; margin-top: .75rem; }
.card label { display: flex; flex: 1; align-items: center; gap: .75rem; color: var(--soft); }
.card input { flex: 1; width: 100%; min-width: 7rem; font: inherit; padding: .3rem .6rem; border: 1px solid var(--line);
  border-radius: .6rem; color: var(--text); background: var(--back); }
.hero a, header button, .card button { display: inline-block; font: inherit; font-weight: 600; line-height: 1.3;
  cursor: pointer; text-decoration: none; border: 1px solid; border-radius: .6rem; }
.hero a { margin-top: 1.75rem; padding: .75rem 1.4rem; color: #0b4a52; background: #fff; }
header button, .card button { padding: .35rem .9rem; color: var(--sea); background: transparent; }
.cards { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 1rem; padding: 1.25rem 1.5rem; }
dl { margin: 0; font-size: 1rem; }
dl div { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1.25rem; padding: .45rem 0;
  border-top: 1px solid var(--line); }
dt { color: var(--soft); }
dd { margin: 0; }
:focus-visible { outline: 3px solid var(--sea); outline-offset: 3px; border-radius: .3rem; }
.hero :focus-visible { outline-color: #fff; }
</style>
</head>
<body>
<header>
<a class="brand" href="{{ url_for('home') }}">Tidewater</a>
<a href="{{ url_for('account') }}">Account</a>
{% if user %}{{ login.sign_out_button(url_for('home'), 'Log out') }}
{% else %}{{ login.button(label='Log in') }}{% endif %}
</header>
<main>{% block content %}{% endblock %}</main>
<footer>Your login lives at <a href="{{ server_url }}/">{{ server_url }}</a>.
Log out there, and every site lets go of you.</footer>
</body>
</html>
"""

HOME = """{% extends "layout.html" %}
{% block title %}Welcome{% endblock %}
{% block content %}
<section class="hero">
{% if user %}
<h1>Hello, {{ user.first_name or "rower" }}.</h1>
<p>You are signed in. Log out at the login service, on your phone or here, and this page will not know you
any more.</p>
<a href="{{ url_for('account') }}">Your account</a>
{% else %}
<h1>Early water, quiet oars.</h1>
<p>This page is for everyone. The account page is for members: log in, and your account is made the first
time. There is no password to choose, and none to forget.</p>
{{ login.button(label='Log in') }}
{% endif %}
</section>
<div class="cards">
<section class="card"><h2>High water</h2><p>04:12 and 16:38, from the lower steps.</p></section>
<section class="card"><h2>Free today</h2><p>Two singles, the double, and the old four.</p></section>
<section class="card"><h2>New here?</h2><p>First rows are on Sunday at nine. Bring dry socks.</p></section>
</div>
{% endblock %}
"""

ACCOUNT = """{% extends "layout.html" %}
{% block title %}Your account{% endblock %}
{% block content %}
<h1>Your account</h1>
<div class="cards">
<section class="card"><h2>Kept by this site</h2>
<dl><div><dt>Member number</dt><dd>{{ account.id }}</dd></div>
<div><dt>Joined</dt><dd>{{ account.joined_at.strftime('%d %b, %H:%M') }} UTC</dd></div>
<div><dt>Visits to this page</dt><dd>{{ account.visits }}</dd></div>
<div><dt>Note, until you log out</dt><dd>{{ session.note }}</dd></div></dl>
<form method="post"><label>Note <input name="note" required></label><button>Keep it</button></form></section>
<section class="card"><h2>Told by the login service</h2>
<dl>{% for name, value in user.items() if name not in times %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}
{% for name, time in times.items() %}
<div><dt>{{ name }}</dt><dd>{{ time.strftime('%d %b, %H:%M') }} UTC</dd></div>{% endfor %}</dl></section>
</div>
{% endblock %}
"""


MISSING = """{% extends "layout.html" %}
{% block title %}No such page{% endblock %}
{% block content %}
<h1>There is no such page.</h1>
<p>Check the address, or go to the <a href="{{ url_for('home') }}">front page</a>.</p>
{% endblock %}
"""


def app_from_environ() -> Flask:
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
        database_url=f"sqlite:///{data / 'accounts.db'}",
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
