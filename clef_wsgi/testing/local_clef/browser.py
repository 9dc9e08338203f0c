"""What a browser is served: the button's script, "approve as ...", and "log out everywhere".

Knows the ways between pages; how they look is in pages.py, what they mean in book.py and deliveries.py.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from clef_wsgi.base.redirect_rules import with_answer
from clef_wsgi.testing.local_clef import pages
from clef_wsgi.testing.local_clef.book import Book, InvalidRedirect, Person
from clef_wsgi.testing.local_clef.deliveries import LogOuts
from clef_wsgi.testing.local_clef.messages import Answer, Request, see_other

SCRIPTS = ("/v1/clef.js", "/v2/clef.js", "/v3/clef.js", "/v3.1/clef.js", "/static/javascripts/clef.js")
LOGIN_PATHS = ("/iframes/qr", "/iframes/login")


class Browser:
    """Answers everything but the API."""

    def __init__(self, book: Book, log_outs: LogOuts, cookie_name: str) -> None:
        self._book = book
        self._log_outs = log_outs
        self._cookie_name = cookie_name
        self._gets: dict[str, Callable[[Request], Answer]] = {
            "/": self._overview,
            "/log-out": self._log_out_done,
            **dict.fromkeys(LOGIN_PATHS, self._ask),
            **dict.fromkeys(SCRIPTS, pages.button_script),
        }
        self._posts: dict[str, Callable[[Request], Answer]] = {
            "/approve": self._approve,
            "/log-out": self._log_out,
            "/send-again": self._send_again,
        }

    def answer(self, request: Request) -> Answer:
        """Looks up the page and hands over; only a page of ours may post."""
        if request.method == "POST":
            page = self._posts.get(request.path)
            if page is not None and not request.same_origin():
                return pages.error(403, "This was not sent by a page of this server.")
        else:
            page = self._gets.get(request.path)
        if page is None or request.method not in ("GET", "HEAD", "POST"):
            return pages.error(404, "There is no such page.")
        try:
            return page(request)
        except InvalidRedirect as invalid:
            return pages.error(400, str(invalid))

    def _person_here(self, request: Request) -> Person | None:
        return self._book.browser_of(request.cookie(self._cookie_name))

    def _ask(self, request: Request) -> Answer:
        login = self._book.login_request(request.raw_query)
        return pages.approve(
            login.redirect_url,
            request.raw_query,
            list(self._book.people.values()),
            self._person_here(request),
        )

    def _approve(self, request: Request) -> Answer:
        login = self._book.login_request(request.raw_query)
        person = self._book.people.get(request.form.get("person", ""))
        if person is None:
            return pages.error(400, "There is no such person.")
        code = self._book.issue_code(login, person)
        key = self._book.remember_browser(person)
        cookie = f"{self._cookie_name}={key}; Path=/; HttpOnly; SameSite=Lax"
        return see_other(with_answer(login.redirect_url, code, login.state), ("Set-Cookie", cookie))

    def _overview(self, request: Request) -> Answer:
        logins = [(person, self._book.logins(person)) for person in self._book.people.values()]
        return pages.overview([(person, where) for person, where in logins if where], self._person_here(request))

    def _log_out(self, request: Request) -> Answer:
        person = self._book.people.get(request.form.get("person", ""))
        if person is None:
            return pages.error(400, "There is no such person.")
        name, _ = self._log_outs.start(person)
        return _show_log_out(name)

    def _send_again(self, request: Request) -> Answer:
        name = request.form.get("name", "")
        if self._log_outs.find(name) is None:
            return pages.error(404, "There is no such log-out.")
        self._log_outs.again(name)
        return _show_log_out(name)

    def _log_out_done(self, request: Request) -> Answer:
        name = request.query.get("name", "")
        log_out = self._log_outs.find(name)
        if log_out is None:
            return pages.error(404, "There is no such log-out.")
        return pages.log_out_done(name, log_out)


def _show_log_out(name: str) -> Answer:
    return see_other("/log-out?" + urlencode({"name": name}))
