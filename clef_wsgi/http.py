"""Read requests and make answers: capped forms, queries, redirects, the built-in pages and their JSON twins.

The only module that uses WebOb.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import partial
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from webob import Response
from webob.acceptparse import create_accept_header

from .base.errors import ClefError, LogoutRefused
from .texts import KEYS, is_of_operators, sentence_for, text

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_FORM_LENGTH = 8 * 1024
MAX_PARAMETER_LENGTH = 2048
MAX_FIELDS = 100
_FORM = "application/x-www-form-urlencoded"
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f27;--paper:#f5f6f8;--card:#fff;--line:#d5d9e0;--soft:#565d6b;--key:#1d54c9}
@media (prefers-color-scheme:dark){
:root{--ink:#e9ebf0;--paper:#12151b;--card:#1c2029;--line:#353b48;--soft:#a6adbb;--key:#9dbcff}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
main{width:100%;max-width:27rem;padding:1.75rem;background:var(--card);border:1px solid var(--line);border-radius:.9rem}
h1{margin:0 0 .6rem;font-size:1.35rem;line-height:1.25}
p{margin:0 0 1.1rem}
a,button{display:inline-block;margin:0 .4rem .5rem 0;padding:.65rem 1.1rem;border:1px solid var(--key);
border-radius:.55rem;background:none;color:var(--key);font:inherit;font-weight:600;text-decoration:none;cursor:pointer}
a:focus-visible,button:focus-visible{outline:3px solid var(--key);outline-offset:2px}
small{display:block;margin-top:.9rem;color:var(--soft)}
"""
_PAGE = Template(
    '<!doctype html><html lang="$language"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>$title</title>'
    "<style>" + _STYLE + "</style></head><body><main><h1>$title</h1><p>$text</p>$actions$footer</main></body></html>"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_SAFETY = {
    # Every answer of ours is about one person at one moment, and its URL may hold a code (RFC 9700, section 4.2).
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_SAFETY = {
    # RFC 9700, section 4.16: no page of a login may be framed.
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
}


class Html(str):
    """Text that is HTML already: templates that honour ``__html__`` do not escape it again."""

    def __html__(self) -> str:
        return self


def link(url: str, label: str) -> Html:
    return Html(f'<a class="clef-login" rel="nofollow" href="{escape(url)}">{escape(label)}</a>')


def post_form(url: str, label: str, **fields: str) -> Html:
    hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in fields.items())
    return Html(
        f'<form class="clef-logout" method="post" action="{escape(url)}">{hidden}'
        f'<button type="submit">{escape(label)}</button></form>'
    )


# -- requests ---------------------------------------------------------------------------------------------


def read_query(environ: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Return the query, every value of a name in order; None when it is not UTF-8 or has too many fields."""
    return _fields(environ.get("QUERY_STRING", ""))


def read_form(environ: Mapping[str, Any]) -> dict[str, list[str]]:
    """Read the posted form, up to :data:`MAX_FORM_LENGTH` bytes.

    :raises LogoutRefused: with status 411 (no length, and no server that says where the input ends), 400 (length or
        fields make no sense, body cut off), 413 (too long) or 415 (something else than a form).
    """
    length = environ.get("CONTENT_LENGTH", "")
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if length == "0":
        return {}
    is_ended = not length and bool(environ.get("wsgi.input_terminated"))
    if media_type != _FORM and (media_type or length or is_ended):
        raise LogoutRefused("Only forms are read here.", reason="not_a_form", status=415)
    if is_ended:
        body = _read_to_the_end(environ["wsgi.input"])
    else:
        body = _read_exactly(environ["wsgi.input"], _content_length(length))
    fields = None if body is None else _fields(body.decode("latin-1"))
    if fields is None:
        raise LogoutRefused("The form is cut off or garbled.", reason="malformed_form")
    return fields


def _content_length(text: str) -> int:
    if not text:
        raise LogoutRefused("The request must say its length.", reason="length_required", status=411)
    if not re.fullmatch("[0-9]{1,20}", text):
        raise LogoutRefused("The request's length makes no sense.", reason="malformed_form")
    if int(text) > MAX_FORM_LENGTH:
        raise _too_long()
    return int(text)


def _read_exactly(stream: Any, length: int) -> bytes | None:
    """Read as many bytes; None where the peer left before."""
    try:
        body: bytes = stream.read(length)
    except OSError:
        return None
    return body if len(body) == length else None


def _read_to_the_end(stream: Any) -> bytes | None:
    """Read a body that was sent in chunks, where the server ends the input; None where the peer left before.

    A read may give less than it was asked for, and nothing only at the end.
    """
    body = b""
    try:
        while chunk := stream.read(min(MAX_FORM_LENGTH, MAX_FORM_LENGTH + 1 - len(body))):
            body += chunk
            if len(body) > MAX_FORM_LENGTH:
                raise _too_long()
    except OSError:
        return None
    return body


def _too_long() -> LogoutRefused:
    return LogoutRefused("The form is too long.", reason="form_too_long", status=413)


def _fields(text: str) -> dict[str, list[str]] | None:
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS):
            fields.setdefault(name, []).append(value)
    except ValueError:  # UnicodeDecodeError is one too
        return None
    return fields


def is_visible(value: str, max_length: int = MAX_PARAMETER_LENGTH) -> bool:
    """Return whether a parameter is printable ASCII of 1 to ``max_length`` characters (RFC 6749, appendix A)."""
    return value.isascii() and value.isprintable() and 0 < len(value) <= max_length


def is_page(environ: Mapping[str, Any]) -> bool:
    """Return whether a person's browser is about to show the answer as a page, so that a login can begin."""
    return environ.get("REQUEST_METHOD") in ("GET", "HEAD") and is_shown(environ)


def is_shown(environ: Mapping[str, Any]) -> bool:
    """Return whether a person's browser is about to show the answer, whatever the method; a script is not.

    Fetch Metadata decides where it is sent; then ``X-Requested-With`` and ``Accept`` tell a script.
    """
    return (
        environ.get("HTTP_SEC_FETCH_MODE", "navigate") == "navigate"
        and environ.get("HTTP_SEC_FETCH_DEST", "document") == "document"
        and "HTTP_X_REQUESTED_WITH" not in environ
        and bool(_accepted(environ, ["text/html"]))
    )


def is_prefetch(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser asks ahead, for a page that a person may never open (Fetch, ``Sec-Purpose``)."""
    said = (environ.get(name, "") for name in ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ"))
    is_ahead = any(re.split(r"[;,\s]", value.strip(), maxsplit=1)[0].lower() == "prefetch" for value in said)
    return is_ahead and environ["REQUEST_METHOD"] in ("GET", "HEAD")


def _accepted(environ: Mapping[str, Any], offers: list[str]) -> list[str]:
    header = create_accept_header(environ.get("HTTP_ACCEPT"))
    return [offer for offer, _quality in header.acceptable_offers(offers)]


def _prefers_json(environ: Mapping[str, Any]) -> bool:
    return _accepted(environ, ["text/html", "application/json"])[:1] == ["application/json"]


# -- answers ----------------------------------------------------------------------------------------------


def redirect(url: str) -> WSGIApplication:
    """Redirect with 303, never 307: the browser must not send a form again (RFC 9700, section 4.12)."""
    return _answer(303, "text/plain", "", {"Location": url})


def no_content() -> WSGIApplication:
    """Return an empty answer that no cache keeps."""
    answer: WSGIApplication = Response(status=204, headerlist=[("Cache-Control", "no-store")])
    return answer


def json_answer(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> WSGIApplication:
    return _answer(status, "application/json", json.dumps(content), headers or {})


def page(
    status: int,
    title: str,
    text: str,
    actions: str,
    *,
    language: str,
    footer: str = "",
    headers: Mapping[str, str] | None = None,
) -> WSGIApplication:
    """Make a small page; ``title`` and ``text`` are plain text, ``actions`` and ``footer`` are HTML."""
    parts = {"title": escape(title), "text": escape(text), "actions": actions, "footer": footer, "language": language}
    # With no-referrer the form would say "Origin: null" (Fetch, "append a request Origin header"), and be refused.
    policy = {"Referrer-Policy": "same-origin"} if "<form" in actions else {}
    spoken = {"Content-Language": language, "Vary": "Accept-Language, Cookie"}
    return _answer(
        status, "text/html", _PAGE.substitute(parts), {**_PAGE_SAFETY, **policy, **spoken, **(headers or {})}
    )


def terms(pairs: Mapping[str, str]) -> str:
    """Return HTML that names things: each a term and what it is here."""
    return "".join(f"<p><b>{escape(term)}</b>: {escape(text)}</p>" for term, text in pairs.items())


def logout_page(end_url: str, next: str, language: str) -> WSGIApplication:
    """Return the page that leads on to the provider's own logout (OpenID Connect RP-Initiated Logout 1.0).

    A page and no redirect: browsers block a form's redirect to another origin under ``form-action 'self'``.

    :param end_url: the absolute URL of that logout.
    :param next: the page of this site for who stays logged in at the provider.
    """
    t = partial(text, language, host=urlsplit(end_url).hostname or "")
    actions = link(end_url, t("logged_out.there")) + link(next, t("logged_out.stay"))
    headers = {"Refresh": f"0; url={end_url}"}
    return page(200, t("logged_out.title"), t("logged_out.text"), actions, language=language, headers=headers)


def error_json(error: ClefError, reference: str) -> WSGIApplication:
    content = {
        "error": error.reason,
        "message": text("en", "operators") if is_of_operators(error) else error.message,
        "reference": reference,
    }
    return json_answer(error.status, content, _retry_after(error))


def error_answer(
    environ: Mapping[str, Any], error: ClefError, reference: str, actions: str, language: str
) -> WSGIApplication:
    """Make an error page, with a way on and the reference that stands in the log; JSON for clients that prefer it."""
    if _prefers_json(environ):
        return error_json(error, reference)
    kind = "title.operators" if is_of_operators(error) else f"title.{error.status}"
    title = text(language, kind if kind in KEYS else "title")
    footer = f"<small>{escape(text(language, 'reference', reference=reference))}</small>"
    sentence, headers = sentence_for(error, language), _retry_after(error)
    return page(error.status, title, sentence, actions, language=language, footer=footer, headers=headers)


def method_not_allowed(allowed: str) -> WSGIApplication:
    content = {"error": "method_not_allowed", "message": f"Only {allowed} works here."}
    return json_answer(405, content, {"Allow": allowed})


def _retry_after(error: ClefError) -> dict[str, str]:
    seconds = getattr(error, "retry_after", None)
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _answer(status: int, media_type: str, body: str, headers: Mapping[str, str]) -> WSGIApplication:
    answer: WSGIApplication = Response(
        body=body.encode(),
        status=status,
        headerlist=[("Content-Type", f"{media_type}; charset=utf-8"), *{**_SAFETY, **headers}.items()],
    )
    return answer
