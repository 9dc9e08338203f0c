"""Shared helpers of the core's tests: hand-written fakes, an app to wrap, a browser, and a second URL parser.

Everything goes through the front door: a wrapped app with ``wsgiref.validate`` on both of its sides.

    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    assert ann.user["id"] == "ann"
    ann.notify(provider.logout_token("ann"))
    assert ann.user is None
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from wsgiref.validate import validator

import webtest

from clef_wsgi import wrap
from clef_wsgi.base.errors import LogoutRefused
from clef_wsgi.interfaces import Identity, LoginStart, Logout, LogoutStore
from clef_wsgi.stores.memory import MemoryLogoutStore

BASE_URL = "https://www.example.com"
PROVIDER_URL = "https://login.example.net"
SECRET = "a secret for tests alone, 32 bytes or more"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NOON = 1_800_000_000.0

Environ = dict[str, Any]
WSGIApp = Callable[..., Iterable[bytes]]


# -- fakes ------------------------------------------------------------------------------------------------


class FakeClock:
    """Seconds since the epoch, as a test says."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeProvider:
    """A provider that a test scripts. A login's ``code`` is the person's name; ``people`` changes who that is.

    ``starts``, ``finishes`` and ``notifications`` hold the arguments of every call. ``raises`` is raised by each
    method that may raise; ``during_finish`` runs, once, while the network would be asked; ``identity`` is the
    answer whatever the code, ``logout`` whatever the notification.
    """

    bounds_exchanges = True  # it asks nobody

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.issuer = f"https://{name}.example"
        self.people: dict[str, Mapping[str, Any]] = {}
        self.provider_state: Mapping[str, Any] = {"nonce": "n"}
        self.starts: list[tuple[str, str]] = []
        self.finishes: list[tuple[dict[str, str], dict[str, Any], str]] = []
        self.notifications: list[dict[str, str]] = []
        self.raises: Exception | None = None
        self.during_finish: Callable[[], object] | None = None
        self.identity: Identity | None = None
        self.logout: Logout | None = None
        self._serial = itertools.count(1)

    def start_login(self, state: str, redirect_url: str) -> LoginStart:
        self.starts.append((state, redirect_url))
        self._raise()
        return LoginStart(
            f"{PROVIDER_URL}/authorize?" + urlencode({"state": state, "redirect_url": redirect_url}),
            self.provider_state,
        )

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        self.finishes.append((dict(query), dict(provider_state), redirect_url))
        event, self.during_finish = self.during_finish, None
        if event is not None:
            event()
        self._raise()
        code = query["code"]
        return self.identity or Identity(self.people.get(code, {"id": code, "email": f"{code}@example.org"}))

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        self.notifications.append(dict(form))
        self._raise()
        token = form["logout_token"]
        user_id, mark, _serial = token.rpartition(".")
        if not mark:
            raise LogoutRefused
        return self.logout or Logout(
            (self.user_key(user_id),), idempotency_key=hashlib.sha256(token.encode()).hexdigest()
        )

    def user_key(self, user_id: str) -> str:
        return json.dumps([self.name, user_id])

    def button_tag(self, state: str, redirect_url: str) -> str:
        return f'<script class="clef-button" data-state="{state}" data-redirect-url="{redirect_url}"></script>'

    def logout_token(self, user_id: str) -> str:
        """Return a new logout token for the person. Without a dot in it, a token is not genuine."""
        return f"{user_id}.{next(self._serial)}"

    def _raise(self) -> None:
        if self.raises is not None:
            raise self.raises


# -- the app, wrapped -------------------------------------------------------------------------------------


def echo(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with what an app sees. ``/session?color=blue`` first writes into the Beaker session; others leave it."""
    login = environ["clef.login"]
    seen = {
        "app": "echo",
        "user": environ["clef.user"],
        "login_id": login.id,
        "error": login.error and login.error.reason,
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "remote_user": environ.get("REMOTE_USER"),
        "auth_type": environ.get("AUTH_TYPE"),
    }
    if environ["PATH_INFO"] == "/session":
        session = environ["beaker.session"]
        for name, value in parse_qsl(environ["QUERY_STRING"]):
            session[name] = value
            session.save()
        seen["session"] = {name: value for name, value in session.items() if not name.startswith(("_", "clef."))}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [json.dumps(seen).encode()]


def make_app(
    app: WSGIApp = echo,
    *,
    provider: Any = None,
    store: LogoutStore | None = None,
    base_url: str = BASE_URL,
    session: Mapping[str, Any] | None = None,
    validated: bool = True,
    **options: Any,
) -> WSGIApp:
    """The app in both layers, between two validators.

    :param session: Beaker's options beyond the secret; memory sessions without more.
    :param validated: False leaves the outer validator out, for requests that break PEP 3333 themselves.
    :param options: those of ``ClefMiddleware``.
    """
    wrapped: WSGIApp = wrap(
        validator(app),
        provider=provider or FakeProvider(),
        logout_store=store or MemoryLogoutStore(),
        base_url=base_url,
        session={"secret": SECRET, **(session or {"type": "memory"})},
        **options,
    )
    return validator(wrapped) if validated else wrapped


# -- the browser ------------------------------------------------------------------------------------------


class Browser(webtest.TestApp):  # type: ignore[misc]  # WebTest ships no types
    """One browser with its cookies, at the site's own address."""

    def __init__(self, app: WSGIApp, base_url: str = BASE_URL) -> None:
        scheme, host, prefix = urlsplit(base_url)[:3]
        environ = {"wsgi.url_scheme": scheme, "HTTP_HOST": host, "SCRIPT_NAME": prefix.rstrip("/")}
        # WebTest's lint is wsgiref.validate once more, which make_app has put on both sides.
        super().__init__(app, extra_environ=environ, lint=False)

    def start_login(self, next: str | None = None) -> str:
        """Start a login by redirect, and return its state."""
        query = "" if next is None else "?next=" + quote(next, safe="")
        return state_of(self.get("/clef/login" + query, status=303).location)

    def come_back(self, state: str, code: str = "ann", **request: Any) -> webtest.TestResponse:
        """Follow the provider's redirect to the callback. ``request`` is for WebTest (``status``, ``headers``)."""
        return self.get("/clef/callback?" + urlencode({"code": code, "state": state}), **request)

    def sign_in(self, person: str = "ann", next: str | None = None) -> webtest.TestResponse:
        """The whole way of a login; returns the callback's answer."""
        return self.come_back(self.start_login(next), person, status=303)

    def sign_out(self, **request: Any) -> webtest.TestResponse:
        """Send the form of the app's log-out button."""
        return self.post("/clef/logout", headers=SAME_ORIGIN, **request)

    def notify(self, token: str, **request: Any) -> webtest.TestResponse:
        """Send the provider's notification, with this browser's cookie, which must not matter."""
        return self.post("/clef/webhook", {"logout_token": token}, **request)

    @property
    def user(self) -> Any:
        """``clef.user`` (a dict or None), as the app behind :func:`echo` sees it now."""
        return self.get("/", status=200).json["user"]

    @property
    def cookie(self) -> str:
        """The ``Cookie`` header of the next request."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


def browser(app: WSGIApp, base_url: str = BASE_URL) -> Browser:
    return Browser(app, base_url)


def state_of(location: str) -> str:
    """The state in an address of the provider."""
    return parse_qs(urlsplit(location).query)["state"][0]


# -- raw requests -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A WSGI response as a server would send it. ``header`` is the only one of its name, or None."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for found, value in self.headers if found.lower() == name.lower()]
        assert len(values) < 2, f"{name} was sent twice"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: WSGIApp,
    path: str = "/",
    *,
    method: str = "GET",
    query: str = "",
    body: bytes = b"",
    stream: Any = None,
    **environ: Any,
) -> Answer:
    """One request made by hand, exactly as given.

    :param path: PATH_INFO, decoded.
    :param stream: ``wsgi.input``, in place of ``body``.
    :param environ: the rest of environ, headers as ``HTTP_...``; None leaves a name out.
    """
    scheme, host = urlsplit(BASE_URL)[:2]
    given = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": stream or io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **({"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/x-www-form-urlencoded"} if body else {}),
        **environ,
    }
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        started.append((status, headers))
        return written.append

    chunks = app({name: value for name, value in given.items() if value is not None}, start_response)
    try:
        written.extend(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    status, headers = started[-1]
    return Answer(int(status[:3]), headers, b"".join(written))


# -- a second opinion on URLs -----------------------------------------------------------------------------

_SPECIAL_SCHEMES = ("http", "https", "ws", "wss", "ftp", "file")


def whatwg_origin(address: str, base_url: str = BASE_URL) -> str:
    """Resolve an address as a browser on ``base_url`` does; return its origin (WHATWG URL, reduced to origins)."""
    text = re.sub("[\t\n\r]", "", address.strip("".join(map(chr, range(0x21)))))
    base = urlsplit(base_url)
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    scheme = found[1].lower() if found else base.scheme
    if scheme not in _SPECIAL_SCHEMES:
        return scheme + ":"
    rest = (text[found.end() :] if found else text).replace("\\", "/")
    if not rest.startswith("//") and scheme == base.scheme:
        return f"{base.scheme}://{base.netloc}"
    authority = re.split("[/?#]", rest.lstrip("/"), maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2].lower()}"


def is_at_home(location: str, base_url: str = BASE_URL) -> bool:
    """Return True when two parsers agree that an absolute ``Location`` is on the site's own origin."""
    parts, home = urlsplit(location), urlsplit(base_url)
    by_python = (parts.scheme, parts.netloc) == (home.scheme, home.netloc)
    return by_python and whatwg_origin(location, "https://elsewhere.example") == f"{home.scheme}://{home.netloc}"
