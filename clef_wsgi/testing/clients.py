"""Log in and out with the test client that a framework brings, each in the way that client works.

WebTest's, Werkzeug's and Flask's clients go through the whole wrapped app: login, callback, logout and webhook
are real. Django's client calls Django's handler and no WSGI app, so there is no middleware to go through: it is
given what the middleware would have put into environ.

No framework is imported.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlencode

from . import fake_provider, request

_SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def sign_in(
    client: Any,
    user: str | Mapping[str, Any],
    *,
    login_path: str = "/clef/login",
    callback_path: str = "/clef/callback",
    webhook_path: str = "/clef/webhook",
    remote_user: str | None = None,
) -> None:
    """Log ``user`` in with a test client, whose app is wrapped with :class:`FakeProvider`.

    :param client: a ``webtest.TestApp``, or a test client of Flask, Werkzeug or Django.
    :param user: an id, or a dict with ``id`` and what else ``clef.user`` shall hold.
    :param remote_user: for Django's client: the option of that name.
    :raises AssertionError: nobody is signed in afterwards, and why.
    """
    person = {"id": user} if isinstance(user, str) else dict(user)
    _browser(client).sign_in(person, login_path, callback_path, remote_user)
    _signed_in[client] = (person["id"], webhook_path)


def sign_out(client: Any, *, logout_path: str = "/clef/logout") -> None:
    """Log the client's browser out of the site, as the log-out button does."""
    _browser(client).sign_out(logout_path)
    _signed_in.pop(client, None)


def log_out_everywhere(user: str | Mapping[str, Any]) -> int:
    """Log a person out at the provider: every app where :func:`sign_in` logged them in gets its webhook called.

    :param user: an id, or a dict with ``id``.
    :returns: how many clients were told.
    """
    user_id = user if isinstance(user, str) else user["id"]
    clients = [client for client, (known_id, _path) in _signed_in.items() if known_id == user_id]
    for client in clients:
        _browser(client).notify(user_id, _signed_in.pop(client)[1])
    return len(clients)


# -- browsers -----------------------------------------------------------------------------------------------


class _HttpBrowser:
    """Send requests through the wrapped app."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def sign_in(self, person: dict[str, Any], login_path: str, callback_path: str, remote_user: str | None) -> None:
        start = self.get(login_path)
        if start.status_code != 303:
            _fail(f"GET {login_path} answered {start.status_code}: is the app wrapped, and is this its login_path?")
        location = start.headers.get("Location", "")
        query = fake_provider.callback_query(location, person)
        end = self.get(f"{callback_path}?{urlencode(query)}")
        if end.status_code == 303 and not end.headers.get("Location", "").startswith(location.partition("?")[0]):
            return
        if "secure" in start.headers.get("Set-Cookie", "").lower() and not self.speaks_https():
            _fail(
                "The session cookie is Secure, since base_url begins with https, and this client speaks http, so "
                f"the cookie never came back: {self.how_to_speak_https}"
            )
        _fail(f"GET {callback_path} answered {end.status_code}: on_login may have refused, or the cookie was not kept.")

    def sign_out(self, logout_path: str) -> None:
        answer = self.post(logout_path, {"next": "/"}, _SAME_ORIGIN)
        if answer.status_code != 303:
            _fail(f"POST {logout_path} answered {answer.status_code}: is this the app's logout_path?")

    def notify(self, user_id: str, webhook_path: str) -> None:
        answer = self.post(webhook_path, fake_provider.logout_notification(user_id), {})
        if answer.status_code != 200:
            _fail(f"POST {webhook_path} answered {answer.status_code}: is this the app's webhook_path?")

    how_to_speak_https = ""
    form_argument = "data"
    any_status: Mapping[str, str] = {}
    """Let the client return an answer of any status."""

    def speaks_https(self) -> bool:
        raise NotImplementedError

    def get(self, path: str) -> Any:
        return self._client.get(path, **self.any_status)

    def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        return self._client.post(path, headers=dict(headers), **{self.form_argument: dict(form)}, **self.any_status)


class _WebTest(_HttpBrowser):
    how_to_speak_https = 'make it with TestApp(app, extra_environ={"wsgi.url_scheme": "https"}).'
    form_argument = "params"
    any_status: Mapping[str, str] = {"status": "*"}

    def speaks_https(self) -> bool:
        return bool(self._client.extra_environ.get("wsgi.url_scheme") == "https")


class _Werkzeug(_HttpBrowser):
    """Werkzeug's client, and Flask's, which is one."""

    how_to_speak_https = 'set app.config["PREFERRED_URL_SCHEME"] = "https" for Flask, or pass base_url to each request.'

    def speaks_https(self) -> bool:
        config = getattr(getattr(self._client, "application", None), "config", {})
        return bool(config.get("PREFERRED_URL_SCHEME") == "https")


class _Django:
    """Django's client: what it adds to each request's environ are its ``defaults``."""

    def __init__(self, client: Any) -> None:
        self._defaults: dict[str, Any] = client.defaults

    def sign_in(self, person: dict[str, Any], login_path: str, callback_path: str, remote_user: str | None) -> None:
        self._defaults.update(request.clef_entries(person))
        if remote_user is not None and person.get(remote_user):
            self._defaults["REMOTE_USER"] = person[remote_user]

    def sign_out(self, logout_path: str) -> None:
        self._defaults.update(request.clef_entries(None))
        self._defaults.pop("REMOTE_USER", None)

    def notify(self, user_id: str, webhook_path: str) -> None:
        self.sign_out("")


# Client -> the person's id, and where to send the webhook. Weak: the kit keeps no client alive.
_signed_in: weakref.WeakKeyDictionary[Any, tuple[str, str]] = weakref.WeakKeyDictionary()

_BROWSERS: dict[tuple[str, str], type[_HttpBrowser] | type[_Django]] = {
    ("webtest", "TestApp"): _WebTest,
    ("werkzeug.test", "Client"): _Werkzeug,
    ("django.test", "Client"): _Django,
}


def _browser(client: Any) -> _HttpBrowser | _Django:
    for (module, name), browser in _BROWSERS.items():
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(client, known):
            return browser(client)
    raise TypeError("sign_in takes a webtest.TestApp, or a test client of Flask, Werkzeug or Django.")


def _fail(sentence: str) -> NoReturn:
    raise AssertionError(sentence)
