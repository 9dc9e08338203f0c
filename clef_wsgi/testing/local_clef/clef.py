"""``LocalClef``: a Clef for tests and demonstrations, as a WSGI application and as a server on loopback.

It speaks the Clef wire protocol, sections 1 to 4, in memory. There are no passwords: whoever can open its
page may be anybody, so it binds to this machine only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from webob import Request, Response

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.base.redirect_rules import is_loopback_url, with_answer
from clef_wsgi.base.urls import is_loopback
from clef_wsgi.testing.local_clef import pages
from clef_wsgi.testing.local_clef.api import HOME, METHODS, PREFIX, answer_call, refuse
from clef_wsgi.testing.local_clef.notifications import Delivery, Logouts
from clef_wsgi.testing.local_clef.records import LocalApp, Person
from clef_wsgi.testing.local_clef.scripted_answers import ApiCall, ScriptedAnswer, ScriptedAnswers
from clef_wsgi.testing.local_clef.server import Server
from clef_wsgi.testing.local_clef.storage import Storage, clef_id
from clef_wsgi.testing.local_clef.views import LOGIN_PATHS, Views

PEOPLE = (
    Person("Ann", "Archer", "ann@example.com", "+44 20 7946 0101"),
    Person("Bo", "Baker", "bo@example.com"),
    Person("Cleo"),
)
"""Invented people; what Bo and Cleo lack is left out of ``info``."""


class LocalClef:
    """A login service without passwords: a WSGI application, and in a ``with`` block a server on loopback.

    ::

        with LocalClef() as clef:
            provider = ClefProvider(app_id=clef.app_id, app_secret=clef.app_secret, server_url=clef.url)

    ``webtest.TestApp(LocalClef())`` calls it without a socket, at ``http://localhost``.

    :param site_url: the public address of the one site that may use it: browsers go back to
        ``{site_url}/clef/callback`` only, and logouts are reported to ``{site_url}/clef/webhook``. Without
        it any loopback address will do, and the webhook is the ``webhook`` beside the ``callback``.
    :param app_id: 32 lowercase hex digits; new ones if not given. ``app_secret`` likewise.
    :param people: who can sign in; a ``str`` is a first name with an e-mail address.
    :param host: ``localhost``, ``127.0.0.1`` or ``::1``.
    :param port: 0 picks a free one.
    :param delivery_timeout_seconds: how long a site may take to answer a logout notification.
    :param clock: seconds, for the lifetimes of codes and tokens.
    :raises ConfigurationError: with everything that is wrong.
    """

    def __init__(
        self,
        *,
        site_url: str | None = None,
        app_id: str | None = None,
        app_secret: str | None = None,
        people: Iterable[Person | str] = PEOPLE,
        host: str = "localhost",
        port: int = 0,
        delivery_timeout_seconds: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        known = [_person(person) for person in people]
        faults = (*_host_faults(host, port), *_people_faults(known), *_site_faults(site_url))
        if faults:
            raise ConfigurationError(*faults)
        self._host = host
        self._port = port
        self._storage = Storage(known, clock)
        self._scripted = ScriptedAnswers()
        self._logouts = Logouts(self._storage, delivery_timeout_seconds)
        self._views = Views(self._storage, self._logouts)
        self._server: Server | None = None
        self._app = self._add(site_url, app_id, app_secret, "/clef/callback", "/clef/webhook")

    # --- what a site needs to know

    @property
    def url(self) -> str:
        """The server's URL, without a trailing slash. A free port is part of it once the server has started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}" if self._port else f"http://{host}"

    @property
    def app_id(self) -> str:
        return self._app.app_id

    @property
    def app_secret(self) -> str:
        return self._app.app_secret

    def add_app(
        self, site_url: str, *, callback_path: str = "/clef/callback", webhook_path: str = "/clef/webhook"
    ) -> LocalApp:
        """Register another site; it gets an app id and a secret of its own.

        :raises ConfigurationError: ``site_url`` is not an address of this machine.
        """
        faults = _site_faults(site_url)
        if faults:
            raise ConfigurationError(*faults)
        return self._add(site_url, None, None, callback_path, webhook_path)

    def clef_id(self, person: Person | str, app_id: str | None = None) -> int:
        """Return the number by which an app (the first one, if not said) knows a person."""
        return clef_id(self._known(person), app_id or self.app_id)

    # --- running

    def start(self) -> LocalClef:
        """Listen, in threads of its own. All records are still there after a stop.

        :raises OSError: the port is taken.
        """
        self._scripted.stopping.clear()
        address = "127.0.0.1" if self._host == "localhost" else self._host
        self._server = Server(address, self._port, self)
        self._port = self._server.server_port
        self._server.start()
        return self

    def stop(self) -> None:
        """Cut all connections; no thread and no socket is left."""
        if self._server is not None:
            self._server.hang_up()
            self._scripted.stopping.set()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> LocalClef:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what a test can do

    def approve(self, login_url: str, person: Person | str) -> str:
        """Approve a login, as a person does in a browser.

        :param login_url: where the site sent the browser.
        :returns: where the browser goes back to, with ``code`` and ``state``.
        :raises ValueError: the page would be an error page.
        """
        parts = urlsplit(login_url)
        if parts.path not in LOGIN_PATHS or (parts.netloc and f"{parts.scheme}://{parts.netloc}" != self.url):
            raise ValueError("That is no login page of this Clef.")
        login = self._storage.login_request(parts.query.encode())
        return with_answer(login.redirect_url, self._storage.issue_code(login, self._known(person)), login.state)

    def log_out_everywhere(self, person: Person | str) -> list[Delivery]:
        """End all logins of a person and notify each site once. Return when all have answered.

        A delivery is confirmed when the site answered 2xx or 3xx and asked who logged out, by the exchange of the
        token, after that attempt began. A site that asks later confirms it then.
        """
        _, logout = self._logouts.start(self._known(person))
        return list(logout.deliveries)

    def send_again(self, delivery: Delivery) -> Delivery:
        """Send a notification that was not confirmed once more, with the same token."""
        return self._logouts.send(delivery)

    def logout_token(self, person: Person | str, app_id: str | None = None) -> str:
        """Return a logout token for the test itself to post to a webhook; it works as often as the site asks."""
        return self._storage.issue_logout_token(self._known(person), app_id or self.app_id).text

    def answer(
        self,
        call: str,
        *,
        status: int | None = None,
        body: bytes | str | dict[str, Any] | list[Any] | None = None,
        delay: float = 0.0,
        during: Callable[[], object] | None = None,
        times: int = 1,
    ) -> None:
        """Change the next answers of ``authorize``, ``info`` or ``logout``.

        :param status: answer this, without doing anything; without it the real answer is given.
        :param body: sent as JSON if it is a dict or list, as HTML otherwise.
        :param delay: seconds between making the answer and sending it.
        :param during: called in between, so that a test can do something at that very moment.
        :param times: for how many calls.
        """
        if call not in METHODS:
            raise ValueError('call must be "authorize", "info" or "logout".')
        self._scripted.add(call, ScriptedAnswer(status, body, delay, during, times))

    @property
    def requests(self) -> list[ApiCall]:
        """The API calls so far, in the order in which they were answered."""
        return list(self._scripted.requests)

    # --- inside

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a request (PEP 3333)."""
        response = self._respond(Request(environ))
        response.headers["X-Content-Type-Options"] = "nosniff"
        start_response(response.status, response.headerlist)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _respond(self, request: Request) -> Response:
        # DNS rebinding: a foreign name that resolves to this machine would make its pages same-origin with ours
        if request.environ.get("HTTP_HOST") not in (None, *self._hosts()):
            return pages.error(421, "This server goes by another name.")
        path = request.environ.get("PATH_INFO") or "/"
        name = path[len(PREFIX) :]
        if path.startswith(PREFIX) and name in METHODS:
            return self._scripted.play(name, request, lambda: answer_call(self._storage, name, request))
        return refuse(404, "There is no such call.") if path.startswith(HOME) else self._views.respond(request)

    def _hosts(self) -> list[str]:
        ports = ["", ":80"] if self._port in (0, 80) else [f":{self._port}"]
        return [name + port for name in ("localhost", "127.0.0.1", "[::1]") for port in ports]

    def _add(
        self,
        site_url: str | None,
        app_id: str | None,
        app_secret: str | None,
        callback_path: str,
        webhook_path: str,
    ) -> LocalApp:
        base = site_url.rstrip("/") if site_url else None
        app = LocalApp(
            app_id or secrets.token_hex(16),
            app_secret or secrets.token_hex(16),
            base and base + callback_path,
            base and base + webhook_path,
        )
        self._storage.apps[app.app_id] = app
        return app

    def _known(self, person: Person | str) -> Person:
        name = person if isinstance(person, str) else person.first_name
        if name not in self._storage.people:
            raise ValueError("There is no such person: give them to LocalClef(people=...).")
        return self._storage.people[name]


def _person(person: Person | str) -> Person:
    return Person(person, email=f"{person.lower()}@example.com") if isinstance(person, str) else person


def _host_faults(host: str, port: int) -> list[str]:
    faults = []
    if not is_loopback(host) or host.endswith(".localhost"):
        faults.append("LocalClef asks for no password, so host must be localhost, 127.0.0.1 or ::1.")
    if not 0 <= port <= 65535:
        faults.append("port must be a number from 0 (pick a free one) to 65535.")
    return faults


def _people_faults(people: list[Person]) -> list[str]:
    names = [person.first_name for person in people]
    if not names or not all(names) or len(set(names)) < len(names):
        return ["people must be at least one person, each with a first name of their own."]
    return []


def _site_faults(site_url: str | None) -> list[str]:
    if site_url is None or (is_loopback_url(site_url) and "?" not in site_url):
        return []
    return ["site_url must be an address of this machine without a query, such as http://localhost:8401."]
