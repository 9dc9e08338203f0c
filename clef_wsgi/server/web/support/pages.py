"""Render pages and errors in the visitor's language. Templates of the administrator's folder come first."""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from jinja2 import ChoiceLoader, FileSystemLoader
from werkzeug.datastructures import Headers

from clef_wsgi.base import redirect_rules
from clef_wsgi.server.clock import rfc3339
from clef_wsgi.server.errors import DatabaseUnavailable, ServerError, SessionEnded
from clef_wsgi.server.options import Options
from clef_wsgi.server.texts import LANGUAGES, text
from clef_wsgi.server.web.support import cookies, time_format
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.rate_limit import TooManyRequests
from clef_wsgi.server.web.support.time_format import Texts

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_log = logging.getLogger(__name__)
_KNOWN_STATUS = {404: "not_found", 405: "wrong_method", 413: "too_large"}


class _SeeOther(Response):
    """A 303 whose ``Location`` goes out as it is: Werkzeug would escape what a site left unescaped in its query."""

    def __init__(self, url: str) -> None:
        super().__init__(status=303)
        self._url = url

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        headers = super().get_wsgi_headers(environ)
        headers["Location"] = self._url
        return headers


class PageError(ServerError):
    """A refusal with an error page: the texts ``error.KEY.title`` and ``error.KEY.text``, both with ``values``.

    :param way: the address of the next step, of this server; its link reads ``error.KEY.way``.
    """

    def __init__(
        self, key: str, status: int = 400, *, retry_after: int | None = None, way: str | None = None, **values: str
    ) -> None:
        super().__init__(text("en", f"error.{key}.text", **values))
        self.key = key
        self.values = values
        self.status = status
        self.retry_after = retry_after
        self.way = way


def install(app: Flask, options: Options) -> None:
    """Set up templates and error pages."""
    if options.templates is not None and app.jinja_loader is not None:
        app.jinja_loader = ChoiceLoader([FileSystemLoader(options.templates), app.jinja_loader])
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_error_handler(PageError, error_page)
    app.register_error_handler(SessionEnded, _signed_out)
    app.register_error_handler(TooManyRequests, _too_many)
    app.register_error_handler(DatabaseUnavailable, _unavailable)


def render(template: str, *, status: int = 200, **values: Any) -> Response:
    """Render a page.

    :param values: for the template, beside ``t`` (texts), ``lang``, ``server_name``, ``has_logo``, ``form_token()``,
        ``iso()`` and ``utc()`` (a time, for machines and for people).
    """
    options, lang = server().options, language()
    t = texts()
    values |= {"lang": lang, "t": t, "server_name": options.name, "has_logo": options.logo is not None}
    values |= {"iso": rfc3339, "utc": partial(time_format.utc, t=t)}
    return make_response(render_template(template, form_token=_form_token, **values), status)


def _form_token() -> str:
    g.has_form = True  # decides on the page's Referrer-Policy
    return cookies.form_token()


def offer_way_back(name: str, redirect_url: str) -> None:
    """Have the error page of this request, if it comes to one, lead back to a site.

    :param redirect_url: of an authorization request whose app and redirect URL are registered.
    """
    url = redirect_rules.front_page(redirect_url)
    g.back = (name, url) if url else None


def see_other(url: str) -> Response:
    """Redirect with 303, so that no form is ever sent on with it (RFC 9700, section 4.12).

    :param url: plain ASCII; it goes out byte for byte.
    """
    return _SeeOther(url)


def language() -> str:
    """Return the visitor's language, by ``Accept-Language``; English where none fits."""
    wanted = (tag.partition("-")[0].lower() for tag, weight in request.accept_languages if weight > 0)
    return next((tag for tag in wanted if tag in LANGUAGES), LANGUAGES[0])


def texts() -> Texts:
    """Return the sentences in the visitor's language: ``t("error.home")``."""
    return partial(text, language())


def wants_json() -> bool:
    """Return whether a script asks, and not a person."""
    accepted = request.accept_mimetypes
    return "X-Clef-Token" in request.headers or accepted["application/json"] > accepted["text/html"]


def error_page(error: PageError, *, reference: str | None = None) -> Response:
    """Answer a refusal as a page, or as JSON for a script."""
    server().metrics.refused(error.key)
    t = texts()
    title, message = (t(f"error.{error.key}.{part}", **error.values) for part in ("title", "text"))
    if wants_json():
        response = jsonify(error=error.key, message=message, **({"reference": reference} if reference else {}))
        response.status_code = error.status
    else:
        way = (error.way, t(f"error.{error.key}.way")) if error.way else None
        about = {"title": title, "message": message, "reference": reference, "way": way, "back": g.get("back")}
        response = render("error.html", status=error.status, **about)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _signed_out(_ended: SessionEnded) -> Response:
    return error_page(PageError("signed_out", 403))


def _too_many(error: TooManyRequests) -> Response:
    return error_page(PageError("too_many", 429, retry_after=error.retry_after))


def _unavailable(error: DatabaseUnavailable) -> Response:
    reference = secrets.token_hex(4)
    _log.error("%s: the database can't be asked (%s)", reference, type(error.__cause__).__name__)
    return error_page(PageError("unavailable", 503, retry_after=error.retry_after), reference=reference)


def status_page(status: int) -> Response:
    """Answer what the framework refused, with a reference where it is this server's fault."""
    reference = secrets.token_hex(4) if status >= 500 else None
    if reference:
        _log.error("%s: an unexpected error, see the traceback before this line", reference)
    return error_page(PageError(_KNOWN_STATUS.get(status, "unexpected"), status), reference=reference)
