"""The three calls of a site: ``authorize``, ``info``, ``logout`` (Clef wire protocol, sections 2 to 4).

Only field names and JSON are handled here; the rules are the book's. Knows nothing of pages or browsers.
"""

from __future__ import annotations

from collections.abc import Callable

from clef_wsgi.testing.local_clef.book import ApiRefused, Book
from clef_wsgi.testing.local_clef.messages import Answer, Request, json_answer

HOME = "/api/"
PREFIX = "/api/v1/"

_METHODS = {"authorize": "POST", "info": "GET", "logout": "POST"}


def answer_call(book: Book, name: str, request: Request) -> Answer:
    """Answers the call ``name``, which is one of the three."""
    method = _METHODS[name]
    if request.method != method:
        return json_answer(405, {"error": f"Only {method} works here."}, ("Allow", method))
    try:
        return json_answer(200, {"success": True, **_CALLS[name](book, request)})
    except ApiRefused as refused:
        return json_answer(refused.status, {"error": refused.text})


def unknown_call() -> Answer:
    """Nobody who asks the API is shown a page."""
    return json_answer(404, {"error": "There is no such call."})


def is_call(name: str) -> bool:
    """Whether the API has a call of this name."""
    return name in _METHODS


def _authorize(book: Book, request: Request) -> dict[str, object]:
    form = request.form
    app_id, app_secret = _client(request)
    hook = form.get("logout_hook")
    return {"access_token": book.authorize(app_id, app_secret, form.get("code", ""), hook)}


def _info(book: Book, request: Request) -> dict[str, object]:
    token = request.query.get("access_token") or request.credentials("bearer")
    return {"info": book.info(token)}


def _logout(book: Book, request: Request) -> dict[str, object]:
    app_id, app_secret = _client(request)
    return {"clef_id": book.read_notice(app_id, app_secret, request.form.get("logout_token", ""))}


def _client(request: Request) -> tuple[str, str]:
    """App id and secret, in Clef's spelling, OAuth's (RFC 6749, 2.3.1), or HTTP Basic."""
    form = request.form
    name, password = request.basic()
    return (
        form.get("app_id") or form.get("client_id") or name,
        form.get("app_secret") or form.get("client_secret") or password,
    )


_CALLS: dict[str, Callable[[Book, Request], dict[str, object]]] = {
    "authorize": _authorize,
    "info": _info,
    "logout": _logout,
}
