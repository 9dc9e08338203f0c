"""Serve browsers: the button's script, "approve as ...", and "log out everywhere"."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlencode

from webob import Request, Response

from clef_wsgi.base.authorization_request import InvalidChallenge
from clef_wsgi.base.redirect_rules import with_answer
from clef_wsgi.base.urls import is_same_origin, origin_of
from clef_wsgi.testing.local_clef import pages
from clef_wsgi.testing.local_clef.api import form_of, single_fields
from clef_wsgi.testing.local_clef.notifications import Logouts
from clef_wsgi.testing.local_clef.records import InvalidRedirect, Person
from clef_wsgi.testing.local_clef.storage import Storage

SCRIPTS = ("/v1/clef.js", "/v2/clef.js", "/v3/clef.js", "/v3.1/clef.js", "/static/javascripts/clef.js")
LOGIN_PATHS = ("/iframes/qr", "/iframes/login")
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class Views:
    """The pages, by path and method."""

    def __init__(self, storage: Storage, logouts: Logouts) -> None:
        self._storage = storage
        self._logouts = logouts
        self._gets: dict[str, Callable[[Request], Response]] = {
            "/": self._overview,
            "/log-out": self._show_logout,
            **dict.fromkeys(LOGIN_PATHS, self._ask),
            **dict.fromkeys(SCRIPTS, lambda request: pages.button_script()),
        }
        self._posts: dict[str, Callable[[Request], Response]] = {
            "/approve": self._approve,
            "/log-out": self._log_out,
            "/send-again": self._send_again,
        }

    def respond(self, request: Request) -> Response:
        """Answer with the page at the request's path. A POST must come from a page of the same origin (CSRF)."""
        path = request.environ.get("PATH_INFO") or "/"
        page = {"GET": self._gets, "HEAD": self._gets, "POST": self._posts}.get(request.method, {}).get(path)
        if page is None:
            return pages.error(404, "There is no such page.")
        if request.method == "POST" and not is_same_origin(request.environ, origin_of(request.host_url) or ""):
            return pages.error(403, "This was not sent by a page of this server.")
        try:
            return page(request)
        except (InvalidRedirect, InvalidChallenge) as invalid:
            return pages.error(400, str(invalid))

    def _person_here(self, request: Request) -> Person | None:
        return self._storage.person_of_browser(request.cookies.get(_cookie_name(request), ""))

    def _person_named(self, request: Request) -> Person | None:
        return self._storage.people.get(form_of(request).get("person", ""))

    def _ask(self, request: Request) -> Response:
        query = request.query_string.encode("latin-1")
        login = self._storage.login_request(query)
        people, here = list(self._storage.people.values()), self._person_here(request)
        return pages.approve(login.redirect_url, quote(query, safe=_VISIBLE_ASCII), people, here)

    def _approve(self, request: Request) -> Response:
        login = self._storage.login_request(request.query_string.encode("latin-1"))
        person = self._person_named(request)
        if person is None:
            return pages.error(400, "There is no such person.")
        response = _see_other(with_answer(login.redirect_url, self._storage.issue_code(login, person), login.state))
        key = self._storage.remember_browser(person)
        response.set_cookie(_cookie_name(request), key, httponly=True, samesite="Lax")
        return response

    def _overview(self, request: Request) -> Response:
        logins = [(person, self._storage.logins(person)) for person in self._storage.people.values()]
        return pages.overview([(person, where) for person, where in logins if where], self._person_here(request))

    def _log_out(self, request: Request) -> Response:
        person = self._person_named(request)
        if person is None:
            return pages.error(400, "There is no such person.")
        name, _ = self._logouts.start(person)
        return _see_other("/log-out?" + urlencode({"name": name}))

    def _send_again(self, request: Request) -> Response:
        name = form_of(request).get("name", "")
        if self._logouts.find(name) is None:
            return pages.error(404, "There is no such log-out.")
        self._logouts.send_again(name)
        return _see_other("/log-out?" + urlencode({"name": name}))

    def _show_logout(self, request: Request) -> Response:
        name = single_fields(request.query_string).get("name", "")
        logout = self._logouts.find(name)
        if logout is None:
            return pages.error(404, "There is no such log-out.")
        return pages.logout_done(name, logout)


def _cookie_name(request: Request) -> str:
    """Return a name with the port, since cookies ignore ports."""
    return f"local_clef_{request.host_port}"


def _see_other(url: str) -> Response:
    """Redirect by 303, so that the browser goes on with a GET (RFC 9110, section 15.4.4)."""
    return Response(status=303, headerlist=[("Location", url), ("Cache-Control", "no-store")])
