"""The API calls ``authorize``, ``info`` and ``logout`` (Clef wire protocol, sections 2 to 4)."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from webob import Request, Response

from clef_wsgi.testing.local_clef.records import ApiRefused, LocalApp
from clef_wsgi.testing.local_clef.storage import TOKEN_LIFETIME, Storage

HOME = "/api/"
PREFIX = "/api/v1/"
MAX_BODY = 64 * 1024
"""The longest body of a request, in bytes."""

METHODS = {"authorize": ("POST",), "info": ("GET", "HEAD"), "logout": ("POST",)}


def answer_call(storage: Storage, name: str, request: Request) -> Response:
    """Answer the call ``name``, a key of :data:`METHODS`."""
    if request.method not in METHODS[name]:
        text = "This call does not work that way: authorize and logout are POST, info is GET."
        return refuse(405, text, Allow=", ".join(METHODS[name]))
    if (request.content_length or 0) > MAX_BODY:
        request.body_file_raw.read(min(request.content_length, 16 * MAX_BODY))  # or the client may not read the answer
        return refuse(413, "Too much was sent.")
    try:
        return _json(200, {"success": True, **_CALLS[name](storage, request)})
    except ApiRefused as refused:
        return refuse(refused.status, refused.text)


def refuse(status: int, text: str, **headers: str) -> Response:
    """Return an error, as JSON."""
    return _json(status, {"success": False, "error": text}, **headers)


def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form that are there exactly once, or are all but empty: one that is doubled says nothing.

    Bodies of more than :data:`MAX_BODY`, of other types and not in UTF-8 are empty forms.
    """
    if (request.content_length or 0) > MAX_BODY:
        return {}
    media_type = (request.content_type or "").lower()
    try:
        if media_type == "application/x-www-form-urlencoded":
            return single_fields(request.body.decode())
        fields = request.POST.dict_of_lists() if media_type == "multipart/form-data" else {}
    except ValueError:  # no boundary, no end, no UTF-8
        return {}
    return _single({name: [value for value in values if isinstance(value, str)] for name, values in fields.items()})


def single_fields(text: str) -> dict[str, str]:
    """Return the fields of a query or form; one that is there twice is empty, since nobody knows which counts."""
    return _single(parse_qs(text, keep_blank_values=True))


def _single(fields: dict[str, list[str]]) -> dict[str, str]:
    return {name: values[0] if len(values) == 1 else "" for name, values in fields.items()}


def _authorize(storage: Storage, request: Request) -> dict[str, object]:
    form = form_of(request)
    app = _app(storage, request, form)
    token = storage.authorize(app, form.get("code", ""), form.get("logout_hook"), form.get("code_verifier"))
    oauth = {"token_type": "bearer", "expires_in": int(TOKEN_LIFETIME)} if "grant_type" in form else {}
    return {"access_token": token, **oauth}


def _info(storage: Storage, request: Request) -> dict[str, object]:
    token = single_fields(request.query_string).get("access_token") or _credentials(request, "bearer")
    return {"info": storage.info(token)}


def _logout(storage: Storage, request: Request) -> dict[str, object]:
    form = form_of(request)
    app = _app(storage, request, form)
    return {"clef_id": storage.exchange_logout_token(app, form.get("logout_token", ""))}


def _app(storage: Storage, request: Request, form: dict[str, str]) -> LocalApp:
    """Authenticate the app, in Clef's spelling, OAuth's (RFC 6749, section 2.3.1), or by HTTP Basic (RFC 7617)."""
    try:
        name, _, password = b64decode(_credentials(request, "basic")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = password = ""
    app_id = form.get("app_id") or form.get("client_id") or name
    return storage.authenticate_app(app_id, form.get("app_secret") or form.get("client_secret") or password)


def _credentials(request: Request, scheme: str) -> str:
    """Return what follows ``scheme`` in the Authorization header, empty when there is none (RFC 9110, 11.4)."""
    given, _, value = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return value.strip() if given.lower() == scheme else ""


def _json(status: int, content: Any, **headers: str) -> Response:
    response = Response(json.dumps(content).encode(), status=status, content_type="application/json", charset=None)
    response.headers.update({"Cache-Control": "no-store", **headers})
    return response


_CALLS: dict[str, Callable[[Storage, Request], dict[str, object]]] = {
    "authorize": _authorize,
    "info": _info,
    "logout": _logout,
}
