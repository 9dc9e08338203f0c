"""A provider inside the test's own process: it believes what the test says, and nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from clef_wsgi.base.errors import CodeRejected, LogoutRefused
from clef_wsgi.interfaces import Identity, LoginStart, Logout

_URL = "https://fake-provider.invalid/"  # RFC 6761, section 6.4: a name that leads nowhere
_KEY = secrets.token_bytes(32)  # of this process: a wrapped app that is served by mistake lets nobody in


class FakeProvider:
    """Log in whom :func:`clef_wsgi.testing.sign_in` names, without any network.

    Its codes and logout notifications are signed with a key of this process, so that no visitor can make one.
    """

    issuer = _URL
    bounds_exchanges = True  # it asks nobody

    def __repr__(self) -> str:
        return "FakeProvider()"

    def start_login(self, state: str, redirect_url: str) -> LoginStart:
        return LoginStart(_URL + "?" + urlencode({"state": state, "redirect_url": redirect_url}))

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        user = _opened("code", query.get("code", ""))
        if user is None:
            raise CodeRejected
        return Identity(user)

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        notification = _opened("logout", form["logout_token"])
        if notification is None:
            raise LogoutRefused
        idempotency_key = hashlib.sha256(form["logout_token"].encode()).hexdigest()
        return Logout((self.user_key(notification["id"]),), idempotency_key=idempotency_key)

    def user_key(self, user_id: str) -> str:
        return json.dumps(["fake", user_id])


def callback_query(login_url: str, user: Mapping[str, Any]) -> dict[str, str]:
    """Return the callback's query as it is when ``user`` approves the login that ``login_url`` began.

    :raises ValueError: the login was not begun by a :class:`FakeProvider`.
    """
    if not login_url.startswith(_URL):
        raise ValueError("The app is not wrapped with provider=FakeProvider(), so nobody can be signed in.")
    query = parse_qs(urlsplit(login_url).query)
    return {"code": _sealed("code", user), "state": query["state"][0]}


def logout_notification(user_id: str) -> dict[str, str]:
    """Return the form of a back-channel logout request for a person; each has its own effect."""
    return {"logout_token": _sealed("logout", {"id": user_id, "nonce": secrets.token_hex(8)})}


def _sealed(purpose: str, content: Mapping[str, Any]) -> str:
    text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    return f"{text}.{_signature(purpose, text)}"


def _opened(purpose: str, sealed: str) -> dict[str, Any] | None:
    text, _, signature = sealed.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(purpose, text).encode()):
        return None
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
    return content


def _signature(purpose: str, text: str) -> str:
    return hmac.new(_KEY, f"{purpose}.{text}".encode(), "sha256").hexdigest()
