"""What a request costs: the bare app, Beaker, this package, and its neighbours, side by side in one process.

    python benchmarks/request_cost.py [--rounds 11] [--requests 2000]

Every round runs every case once, in rotating order, so that a busy machine disturbs all of them alike. Printed
are medians in microseconds and, since machines differ, medians of the ratios within a round. The table of
docs/performance.md is this output.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import flask_login
import flask_sqlalchemy
from beaker.middleware import SessionMiddleware
from repoze.who.api import APIFactory
from repoze.who.classifiers import default_challenge_decider, default_request_classifier
from repoze.who.middleware import PluggableAuthenticationMiddleware
from repoze.who.plugins.auth_tkt import AuthTktCookiePlugin
from webob import Request

from clef_wsgi import (
    ClefMiddleware,
    Identity,
    LoginStart,
    Logout,
    LogoutStore,
    MemoryLogoutStore,
    SQLiteLogoutStore,
    session_options,
)

App = Callable[[dict[str, Any], Any], Any]
BASE_URL = "http://localhost"
SECRET = "a secret of a benchmark, 32 bytes or more"
PACKAGES = ("clef_wsgi", "Beaker", "WebOb", "Flask", "Flask-Login", "repoze.who", "Flask-SQLAlchemy", "SQLAlchemy")


class Provider:
    """Everybody is who they say they are."""

    def start_login(self, state: str, redirect_url: str) -> LoginStart:
        return LoginStart(f"https://provider.example/?state={state}")

    def finish_login(self, query: Any, provider_state: Any, redirect_url: str) -> Identity:
        return Identity({"id": query["code"], "email": "ann@example.org", "first_name": "Ann"})

    def read_logout(self, form: Any) -> Logout:
        return Logout((self.user_key(form["logout_token"]),))

    def user_key(self, user_id: str) -> str:
        return f'["benchmark","{user_id}"]'


def bare(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def reads_session(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["beaker.session"].get("clef.login.of-nobody")
    return bare(environ, start_response)


def no_op(app: App) -> App:
    def wrapper(environ: dict[str, Any], start_response: Any) -> Any:
        return app(environ, start_response)

    return wrapper


# -- the cases ----------------------------------------------------------------------------------------------


class Case:
    """An app and the request to send it, which must be answered with 200."""

    def __init__(self, name: str, app: App, path: str = "/page", cookie: str = "") -> None:
        self.name = name
        self.app = app
        self.environ = {**Request.blank(path, base_url=BASE_URL).environ, "HTTP_ACCEPT": "text/html"}
        if cookie:
            self.environ["HTTP_COOKIE"] = cookie
        answer = Request(dict(self.environ)).get_response(app)
        assert answer.status_int == 200, f"{name}: {answer.status}"

    def run(self, requests: int) -> float:
        """Microseconds a request."""
        app, environ = self.app, self.environ
        began = time.perf_counter_ns()
        for _ in range(requests):
            for _block in app(dict(environ), _start_response):
                pass
        return (time.perf_counter_ns() - began) / requests / 1000


def _start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
    return lambda data: None


def cookie_of(app: App, *paths: str) -> str:
    """Sends one request after the other, and returns the cookies of the last answer that set some."""
    cookie = ""
    for path in paths:
        answer = Request.blank(path, base_url=BASE_URL, headers={"Cookie": cookie}).get_response(app)
        set_cookies = answer.headers.getall("Set-Cookie")
        cookie = "; ".join(value.strip().partition(";")[0] for value in set_cookies) or cookie
    return cookie


def sign_in(app: App) -> str:
    start = Request.blank("/clef/login", base_url=BASE_URL).get_response(app)
    state = parse_qs(urlsplit(start.location).query)["state"][0]
    cookie = start.headers["Set-Cookie"].strip().partition(";")[0]
    callback = Request.blank(f"/clef/callback?code=ann&state={state}", base_url=BASE_URL, headers={"Cookie": cookie})
    return str(callback.get_response(app).headers["Set-Cookie"].strip().partition(";")[0])


def our_cases(directory: Path) -> list[Case]:
    options = session_options(base_url=BASE_URL, secret=SECRET)
    stores: dict[str, LogoutStore] = {"memory": MemoryLogoutStore(), "SQLite": SQLiteLogoutStore(directory / "x.db")}

    def wrapped(store: LogoutStore) -> App:
        inner = ClefMiddleware(
            bare, provider=Provider(), logout_store=store, base_url=BASE_URL, protect=["/admin"], ignore=["/static"]
        )
        return SessionMiddleware(inner, options)  # type: ignore[no-any-return]

    apps = {name: wrapped(store) for name, store in stores.items()}
    cookie = sign_in(apps["memory"])
    return [
        Case("bare app", bare),
        Case("no-op wrapper", no_op(bare)),
        Case("Beaker, untouched", SessionMiddleware(bare, options)),
        Case("ours, ignored path", apps["memory"], "/static/site.css"),
        Case("ours, anonymous", apps["memory"]),
        Case("Beaker, session read", SessionMiddleware(reads_session, options), cookie=cookie),
        Case("ours, signed in, memory store", apps["memory"], cookie=cookie),
        Case("ours, signed in, SQLite store", apps["SQLite"], cookie=sign_in(apps["SQLite"])),
    ]


def flask_cases(directory: Path) -> list[Case]:
    plain = flask.Flask("plain")
    plain.add_url_rule("/page", view_func=lambda: "ok", endpoint="page")
    login, sample = flask_login_app(), old_sample_app(directory / "sample.db")
    return [
        Case("Flask, bare", plain.wsgi_app),
        Case("Flask with Flask-Login", login.wsgi_app, cookie=cookie_of(login.wsgi_app, "/sign-in")),
        Case("Flask with the old sample", sample.wsgi_app, cookie=cookie_of(sample.wsgi_app, "/sign-in")),
    ]


def flask_login_app() -> flask.Flask:
    app = flask.Flask("login")
    app.secret_key = SECRET
    manager = flask_login.LoginManager(app)
    people = {"ann": flask_login.UserMixin()}
    people["ann"].id = "ann"
    manager.user_loader(people.get)

    @app.get("/sign-in")
    def sign_in() -> str:
        flask_login.login_user(people["ann"])
        return "ok"

    @app.get("/page")
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def page() -> str:
        return "ok"

    return app


def old_sample_app(path: Path) -> flask.Flask:
    """What Clef's own sample did at each request: load the person's row, compare two times."""
    app = flask.Flask("sample")
    app.secret_key = SECRET
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    database: Any = flask_sqlalchemy.SQLAlchemy(app)

    class Person(database.Model):  # type: ignore[misc]
        id = database.Column(database.Integer, primary_key=True)
        logged_out_at = database.Column(database.Float)

    with app.app_context():
        database.create_all()
        database.session.add(Person(id=1, logged_out_at=0.0))
        database.session.commit()

    @app.get("/sign-in")
    def sign_in() -> str:
        flask.session.update(person=1, logged_in_at=time.time())
        return "ok"

    @app.get("/page")
    def page() -> tuple[str, int]:
        person = database.session.get(Person, flask.session["person"])
        return ("ok", 200) if person.logged_out_at < flask.session["logged_in_at"] else ("no", 401)

    return app


def repoze_case() -> Case:
    plugin = AuthTktCookiePlugin(SECRET, "auth_tkt")
    plugins = {"identifiers": [("tkt", plugin)], "authenticators": [("tkt", plugin)], "challengers": []}
    app = PluggableAuthenticationMiddleware(
        bare,
        plugins["identifiers"],
        plugins["authenticators"],
        plugins["challengers"],
        [],
        default_request_classifier,
        default_challenge_decider,
    )
    api = APIFactory(**plugins, mdproviders=[], request_classifier=default_request_classifier)
    environ = Request.blank("/page", base_url=BASE_URL).environ
    headers = plugin.remember(environ, {"repoze.who.userid": "ann"})
    assert api is not None
    return Case("repoze.who with auth_tkt", app, cookie=headers[0][1].partition(";")[0])


# -- measuring ----------------------------------------------------------------------------------------------


def measure(cases: list[Case], rounds: int, requests: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    for round_number in range(rounds):
        turn = round_number % len(cases)
        for case in cases[turn:] + cases[:turn]:
            times[case.name].append(case.run(requests))
    return times


def print_table(times: dict[str, list[float]]) -> None:
    bases = {
        "ours, ignored path": "Beaker, untouched",
        "ours, anonymous": "Beaker, untouched",
        "ours, signed in, memory store": "Beaker, session read",
        "ours, signed in, SQLite store": "Beaker, session read",
        "Flask with Flask-Login": "Flask, bare",
        "Flask with the old sample": "Flask, bare",
        "repoze.who with auth_tkt": "bare app",
    }
    print("| case | µs a request | adds µs | ratio | to |\n|---|---:|---:|---:|---|")
    for name, values in times.items():
        row = f"| {name} | {statistics.median(values):.2f} |"
        if name in bases:
            base = times[bases[name]]
            added = statistics.median(v - b for v, b in zip(values, base, strict=True))
            ratio = statistics.median(v / b for v, b in zip(values, base, strict=True))
            print(f"{row} {added:.2f} | {ratio:.2f} | {bases[name]} |")
        else:
            print(f"{row} | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--requests", type=int, default=2000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        cases = [*our_cases(directory), *flask_cases(directory), repoze_case()]
        measure(cases, 1, chosen.requests // 4)  # warm up
        times = measure(cases, chosen.rounds, chosen.requests)
    print_table(times)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    print(f"\nCPython {platform.python_version()}, {versions}; {chosen.rounds} rounds of {chosen.requests} requests.")


if __name__ == "__main__":
    main()
