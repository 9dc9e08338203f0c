"""The neighbours of benchmarks/request_cost.py: apps that keep a login by other means, each with somebody signed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple

import flask
import flask_login
import flask_sqlalchemy
from django.conf import settings
from django.contrib.auth import login as django_login
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from repoze.who.api import APIFactory
from repoze.who.classifiers import default_challenge_decider, default_request_classifier
from repoze.who.middleware import PluggableAuthenticationMiddleware
from repoze.who.plugins.auth_tkt import AuthTktCookiePlugin
from werkzeug.test import Client, EnvironBuilder

App = Callable[[dict[str, Any], Any], Any]

SIGN_IN, PAGE = "/sign-in", "/page"


class Peer(NamedTuple):
    """An app that answers ``/page``, the cookie of somebody signed in, and the case that it is compared with."""

    name: str
    app: App
    cookie: str = ""
    base: str | None = None


def peers(bare: App, *, secret: str, directory: Path) -> Iterator[Peer]:
    """Yield the neighbours; those that no framework brings along guard ``bare``."""
    yield Peer("repoze.who with auth_tkt", *_repoze_who(bare, secret), "bare app")
    yield Peer("Flask, bare", _bare_flask())
    for name, app in (
        ("Flask with Flask-Login", _flask_login(secret)),
        ("Flask with the old sample", _old_sample(secret, directory / "sample.db")),
    ):
        yield Peer(name, app, _cookie_of(app), "Flask, bare")
    django = _django(secret, directory / "django.db")
    yield Peer("Django, session and user untouched", django)
    yield Peer(
        "Django with session and authentication", django, _cookie_of(django), "Django, session and user untouched"
    )


def _cookie_of(app: App) -> str:
    """Sign in, and return what the browser sends from then on."""
    answer = Client(app, use_cookies=False).get(SIGN_IN)
    jar = SimpleCookie("; ".join(value.partition(";")[0] for value in answer.headers.getlist("Set-Cookie")))
    return "; ".join(f"{name}={morsel.coded_value}" for name, morsel in jar.items())


def _repoze_who(bare: App, secret: str) -> tuple[App, str]:
    plugin = AuthTktCookiePlugin(secret, "auth_tkt")
    plugins = {"identifiers": [("tkt", plugin)], "authenticators": [("tkt", plugin)], "challengers": []}
    app = PluggableAuthenticationMiddleware(
        bare, *plugins.values(), [], default_request_classifier, default_challenge_decider
    )
    APIFactory(**plugins, mdproviders=[], request_classifier=default_request_classifier)
    headers = plugin.remember(EnvironBuilder(path=PAGE).get_environ(), {"repoze.who.userid": "ann"})
    return app, headers[0][1].partition(";")[0]


def _bare_flask() -> App:
    app = flask.Flask("bare")
    app.add_url_rule(PAGE, view_func=lambda: "ok", endpoint="page")
    return app.wsgi_app


def _flask_login(secret: str) -> App:
    app = flask.Flask("login")
    app.secret_key = secret
    manager = flask_login.LoginManager(app)
    people = {"ann": flask_login.UserMixin()}
    people["ann"].id = "ann"
    manager.user_loader(people.get)

    @app.get(SIGN_IN)
    def sign_in() -> str:
        flask_login.login_user(people["ann"])
        return "ok"

    @app.get(PAGE)
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def page() -> str:
        return "ok"

    return app.wsgi_app


def _old_sample(secret: str, file: Path) -> App:
    """Do as Clef's own sample did at each request: load the person's row, compare two times."""
    app = flask.Flask("sample")
    app.secret_key = secret
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{file}"
    database: Any = flask_sqlalchemy.SQLAlchemy(app)

    class Person(database.Model):  # type: ignore[misc]
        id = database.Column(database.Integer, primary_key=True)
        logged_out_at = database.Column(database.Float)

    with app.app_context():
        database.create_all()
        database.session.add(Person(id=1, logged_out_at=0.0))
        database.session.commit()

    @app.get(SIGN_IN)
    def sign_in() -> str:
        flask.session.update(person=1, logged_in_at=time.time())
        return "ok"

    @app.get(PAGE)
    def page() -> tuple[str, int]:
        person = database.session.get(Person, flask.session["person"])
        return ("ok", 200) if person.logged_out_at < flask.session["logged_in_at"] else ("no", 401)

    return app.wsgi_app


urlpatterns: list[Any] = []


def _django(secret: str, file: Path) -> App:
    settings.configure(
        SECRET_KEY=secret,
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "CONN_MAX_AGE": None}},
    )
    urlpatterns[:] = [path(SIGN_IN[1:], _django_sign_in), path(PAGE[1:], _django_page)]
    app: App = get_wsgi_application()
    call_command("migrate", verbosity=0)
    return app


def _django_sign_in(request: HttpRequest) -> HttpResponse:
    from django.contrib.auth.models import User

    django_login(request, User.objects.create_user("ann"))
    return HttpResponse("ok")


def _django_page(request: HttpRequest) -> HttpResponse:
    if settings.SESSION_COOKIE_NAME in request.COOKIES and not request.user.is_authenticated:
        return HttpResponse("no", status=401)
    return HttpResponse("ok", content_type="text/plain")
