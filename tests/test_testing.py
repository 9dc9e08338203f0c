"""The test kit: signing in and out with each framework's client, and environ without the middleware."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import django.conf
import django.test
import django.urls
import flask
import pytest
import werkzeug.test
from django.http import HttpRequest, JsonResponse
from support.app import echo
from support.cases import each
from webtest import TestApp

from clef_wsgi import ClefProvider, ConfigurationError, MemoryLogoutStore, wrap
from clef_wsgi.base.errors import LoginRefused
from clef_wsgi.interfaces import LoginStart
from clef_wsgi.testing import FakeProvider, LocalClef, environ, log_out_everywhere, sign_in, sign_out
from clef_wsgi.testing import fake_provider as fake
from clef_wsgi.testing.provider_contract import IdentityProviderContract

pytest_plugins = ["clef_wsgi.testing.pytest"]

SESSION = {"secret": "a secret of 32 bytes or even more"}
ANN = {"id": "ann", "email": "ann@example.org"}


def wrapped(app: Any = echo, *, provider: Any = None, base_url: str = "http://localhost", **options: Any) -> Any:
    provider = provider or FakeProvider()
    store = MemoryLogoutStore()
    return wrap(app, provider=provider, logout_store=store, base_url=base_url, session=SESSION, **options)


def flask_app(**options: Any) -> flask.Flask:
    app = flask.Flask("shown")
    app.add_url_rule("/", view_func=lambda: {"user": flask.request.environ["clef.user"]})
    app.wsgi_app = wrapped(app.wsgi_app, **options)  # type: ignore[method-assign]
    return app


class Shown:
    """A client, and who its app says is signed in."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.client: Any
        if kind == "webtest":
            self.client = TestApp(wrapped(**options))
        elif kind == "flask":
            self.client = flask_app(**options).test_client()
        else:
            self.client = werkzeug.test.Client(wrapped(flask_app().wsgi_app, **options))

    @property
    def user(self) -> Any:
        answer = self.client.get("/")
        return (answer.json if answer.json else {})["user"]


KINDS = ["webtest", "flask", "werkzeug"]


@each("kind", KINDS)
def test_in_and_out_with_a_client(kind: str) -> None:
    """``sign_in`` goes through login and callback, ``sign_out`` through the logout path."""
    shown = Shown(kind) if kind != "werkzeug" else Shown("flask")
    assert shown.user is None
    sign_in(shown.client, ANN)
    seen: Any = shown.client.get("/").json["user"]
    assert seen.pop("logged_in_at") == seen.pop("authenticated_at") > 0
    assert seen == ANN
    sign_out(shown.client)
    assert shown.user is None


def test_a_plain_werkzeug_client() -> None:
    """Werkzeug's own client is one too."""
    client = werkzeug.test.Client(wrapped())
    sign_in(client, "ann")
    assert b'"id": "ann"' in client.get("/").data


@pytest.mark.parametrize("kind", ["webtest", "flask"])
def test_everywhere_is_every_client_of_that_person(kind: str) -> None:
    """``log_out_everywhere`` ends the person's logins in every app, and no other person's."""
    phone, desk, other = Shown(kind), Shown(kind), Shown(kind)
    sign_in(phone.client, "dora")
    sign_in(desk.client, {"id": "dora"})
    sign_in(other.client, "bo")
    assert log_out_everywhere({"id": "dora"}) == 2
    assert (phone.user, desk.user) == (None, None)
    assert other.user["id"] == "bo"
    sign_in(phone.client, "ann")
    assert phone.user["id"] == "ann"


def test_a_client_that_is_gone_is_forgotten() -> None:
    """The kit keeps no client alive."""
    client = TestApp(wrapped())
    sign_in(client, "carol")
    del client
    gc.collect()
    assert log_out_everywhere("carol") == 0


def test_a_secure_cookie_over_http_is_named() -> None:
    """An https ``base_url`` and a client that speaks http: the cookie never comes back, and the error says so."""
    app = wrapped(base_url="https://localhost")
    with pytest.raises(AssertionError, match=r"Secure.*wsgi\.url_scheme"):
        sign_in(TestApp(app), "ann")
    client = TestApp(app, extra_environ={"wsgi.url_scheme": "https"})
    sign_in(client, "ann")
    assert client.get("/").json["user"]["id"] == "ann"


def echo_unwrapped(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_what_stands_in_the_way_is_said() -> None:
    """Not wrapped, another provider, a refusing ``on_login``, another path: each has its sentence."""

    def refuse(environ: dict[str, Any], user: dict[str, Any]) -> None:
        raise LoginRefused("Members only.", reason="not_a_member")

    with pytest.raises(AssertionError, match="is the app wrapped"):
        sign_in(TestApp(echo_unwrapped), "ann")
    with pytest.raises(AssertionError, match="on_login may have refused"):
        sign_in(TestApp(wrapped(on_login=refuse)), "ann")
    with pytest.raises(TypeError, match=r"webtest\.TestApp"):
        sign_in(object(), "ann")
    with LocalClef() as clef:
        real = ClefProvider(app_id=clef.app_id, app_secret=clef.app_secret, server_url=clef.url)
        with pytest.raises(ValueError, match=r"FakeProvider\(\)"):
            sign_in(TestApp(wrapped(provider=real)), "ann")


def test_other_paths() -> None:
    """The kit follows the app's own paths."""
    client = TestApp(wrapped(login_path="/in", callback_path="/back", logout_path="/out", webhook_path="/hook"))
    sign_in(client, "ann", login_path="/in", callback_path="/back", webhook_path="/hook")
    assert log_out_everywhere("ann") >= 1
    assert client.get("/").json["user"] is None
    sign_in(client, "ann", login_path="/in", callback_path="/back", webhook_path="/hook")
    sign_out(client, logout_path="/out")
    assert client.get("/").json["user"] is None


def django_client() -> django.test.Client:
    if not django.conf.settings.configured:
        django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
        django.setup()
    return django.test.Client()


def who(request: HttpRequest) -> JsonResponse:
    user = request.environ["clef.user"]
    return JsonResponse({"user": user, "remote": request.META.get("REMOTE_USER")})


urlpatterns = [django.urls.path("", who)]


def test_django() -> None:
    """Django's client calls no WSGI app: it is given what the middleware would have put there."""
    client = django_client()
    with django.test.override_settings(ROOT_URLCONF=__name__):
        sign_in(client, ANN, remote_user="email")
        shown = client.get("/").json()
        assert (shown["user"]["id"], shown["remote"]) == ("ann", "ann@example.org")
        assert client.post("/").status_code == 200
        assert log_out_everywhere("ann") >= 1
        assert client.get("/").json() == {"user": None, "remote": None}
        sign_in(client, "ann")
        sign_out(client)
        assert client.get("/").json()["user"] is None


def test_environ_for_unit_tests() -> None:
    """``environ`` holds what the middleware would: a user or nobody, and a login that draws."""
    signed_in = environ(ANN, "/page?x=1", REQUEST_METHOD="POST")
    assert signed_in["clef.user"]["id"] == "ann"
    assert signed_in["clef.user"]["logged_in_at"] > 0
    assert signed_in["REQUEST_METHOD"] == "POST"
    assert signed_in["clef.login"].id
    assert "next=%2F" not in environ(None, "/page?x=1")["clef.login"].url()
    assert environ(None, "/page?x=1")["clef.login"].url().endswith("?next=/page%3Fx%3D1")
    assert "<form" in signed_in["clef.login"].sign_out_button()
    signed_in["clef.login"].end()
    assert signed_in["clef.user"] is None
    assert environ()["clef.user"] is None
    assert environ()["clef.login"].id is None
    assert environ()["clef.login"].is_active() is False
    assert environ("ann")["clef.login"].is_active() is True
    assert environ("ann")["clef.login"].id != environ("ann")["clef.login"].id


def test_fixtures(fake_provider: FakeProvider, local_clef: LocalClef) -> None:
    """``pytest_plugins`` brings a provider in process and a Clef on loopback."""
    assert isinstance(fake_provider, FakeProvider)
    assert local_clef.url.startswith("http://localhost:")


@pytest.mark.process
def test_pytest_is_not_imported_by_the_kit() -> None:
    """``clef_wsgi.testing`` works without pytest, and imports no framework."""
    code = "import sys, clef_wsgi.testing; print({'pytest', 'flask', 'django', 'webtest'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path("/"))
    assert run.stdout.strip() == "set()"


def test_no_visitor_can_make_a_code() -> None:
    """A wrapped app that is served with ``FakeProvider`` by mistake lets nobody in, and ends nobody's login."""
    client = TestApp(wrapped())
    state = client.get("/clef/login").location.partition("state=")[2].partition("&")[0]
    forged = fake._sealed("code", {"id": "ann"}).partition(".")[0] + "." + "0" * 64
    client.get("/clef/callback", {"code": forged, "state": state}, status=400)
    client.post("/clef/webhook", {"logout_token": fake._sealed("code", {"id": "ann"})}, status=400)
    with pytest.raises(ConfigurationError):
        wrapped(provider=FakeProvider)


class TestFakeProvider(IdentityProviderContract):
    """The fake keeps the contract that real ones keep."""

    def make_provider(self) -> FakeProvider:
        return FakeProvider()

    def approve(self, start: LoginStart, person: str) -> Mapping[str, str]:
        return fake.callback_query(start.url, {"id": person})

    def notification(self, person: str) -> Mapping[str, str]:
        return fake.logout_notification(person)
