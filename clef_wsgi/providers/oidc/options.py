"""The options of ``OIDCProvider``: each that can't work is refused with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from clef_wsgi.base.options import check_url

from .client_authentication import METHODS
from .keys import ALGORITHMS

MAX_ISSUER_LENGTH = 256
MAX_LEEWAY_SECONDS = 300
CONSUMERS_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"

_TEXT = re.compile(r"[\x20-\x7e]{1,512}")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_PAIR = re.compile(r"([\x21-\x3c\x3e-\x7e]+) ?= ?(.+)")
_ENTRA_HOSTS = ("microsoftonline.com", "microsoftonline.us", "chinacloudapi.cn", "microsoftonline.cn", "windows.net")
_ENTRA_TENANTS = {
    "common": "your tenant's id in place of common",
    "organizations": "your tenant's id in place of organizations",
    "consumers": f"{CONSUMERS_TENANT}, the id of that tenant, in place of consumers",
}
_OWN_PARAMETERS = {
    "client_id": "use the option client_id",
    "scope": "use the option scopes",
    "response_type": "leave it out, it is always code",
    "response_mode": "leave it out, it is always query",
    "redirect_uri": "leave it out, it is made of base_url and callback_path",
    "state": "leave it out, it is new for each login",
    "nonce": "leave it out, it is new for each login",
    "code_challenge": "leave it out, it is new for each login",
    "code_challenge_method": "leave it out, it is always S256",
    "request": "leave it out, request objects are not sent",
    "request_uri": "leave it out, and write pushed='always' for pushed requests",
    "registration": "leave it out, and register the site at the provider",
    "id_token_hint": "leave it out, it is sent at logout alone",
    "iss": "leave it out, it is the provider that sends it",
}
_OWN_KEYS = ("id", "logged_in_at", "authenticated_at")


def issuer_faults(issuer: object, allow_http_hosts: Any) -> Iterator[str]:
    """Yield what is wrong with ``issuer``."""
    yield from check_url(issuer, "issuer", allow_http_hosts=allow_http_hosts)
    text = issuer if isinstance(issuer, str) else ""
    if "{" in text or "}" in text:
        yield "issuer must not hold {...}: write your tenant's id in its place."
    if len(text) > MAX_ISSUER_LENGTH:
        yield f"issuer must have at most {MAX_ISSUER_LENGTH} characters, or ids of people become too long."
    try:
        host, tenant = urlsplit(text).hostname or "", urlsplit(text).path.split("/")[1:2]
    except ValueError:
        return
    if host.endswith(_ENTRA_HOSTS) and tenant and tenant[0].lower() in _ENTRA_TENANTS:
        yield f"issuer must name one tenant: write {_ENTRA_TENANTS[tenant[0].lower()]}."


def client_faults(client_id: object, secrets: object, key_file: object, client_auth: object) -> Iterator[str]:
    """Yield what is wrong with the options by which the site authenticates."""
    if not isinstance(client_id, str) or not _VISIBLE.fullmatch(client_id):
        yield "client_id must be the id that the provider gave: printable ASCII without spaces."
    if not all(isinstance(secret, str) and _TEXT.fullmatch(secret) for secret in secret_list(secrets)):
        yield "client_secret must be what the provider gave, printable ASCII; or a list of such, newest first."
    if client_auth != "auto" and client_auth not in METHODS:
        yield f"client_auth must be 'auto' or one of {', '.join(map(repr, METHODS))}."
    if str(client_auth).startswith("client_secret") and not secrets:
        yield f"client_auth={client_auth!r} needs client_secret: give it, or write client_auth='auto'."
    if client_auth == "private_key_jwt" and key_file is None:
        yield "client_auth='private_key_jwt' needs client_key_file: give it, or write client_auth='auto'."
    if client_auth == "none" and (secrets or key_file):
        yield "client_auth='none' sends no client_secret and no key: leave those out, or write client_auth='auto'."


def secret_list(secrets: Any) -> Sequence[Any]:
    """Return the secrets of ``client_secret``, newest first."""
    if secrets is None or isinstance(secrets, str):
        return [secrets] if secrets is not None else []
    return list(secrets) if isinstance(secrets, list | tuple) and secrets else [None]


def scope_faults(scopes: Any) -> Iterator[str]:
    """Yield what is wrong with ``scopes``."""
    if not _are_texts(scopes) or not all(map(_VISIBLE.fullmatch, scopes)):
        yield 'scopes must be a list of words, as ["openid", "profile", "email"].'
        return
    if "openid" not in scopes:
        yield "scopes must hold openid: without it this is no OpenID Connect, and nobody has an id."
    if "offline_access" in scopes:
        yield "scopes must not hold offline_access: no refresh token is kept, so leave it out."


def algorithm_faults(algorithms: Any) -> Iterator[str]:
    """Yield what is wrong with ``algorithms``."""
    if not _are_texts(algorithms) or not algorithms:
        yield 'algorithms must be a list of names, as ["RS256"].'
        return
    for name in algorithms:
        if name.upper().startswith("HS"):
            yield f"algorithms must not hold {name}, for which a secret is the key: let the provider sign with RS256."
        elif name.lower() == "none":
            yield "algorithms must not hold none, which is no signature: let the provider sign with RS256."
        elif name not in ALGORITHMS:
            yield f"algorithms must hold names among {', '.join(ALGORITHMS)} alone."


def login_param_faults(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield which names of ``login_params`` the provider sets itself, or would move the rules."""
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if name in _OWN_PARAMETERS:
            yield f"login_params must not set {name}: {_OWN_PARAMETERS[name]}."
        if name == "prompt" and "none" in value.split():
            yield "login_params must not set prompt=none: nobody could log in; leave it out."
        if name == "max_age" and not re.fullmatch("[0-9]{1,9}", value):
            yield "login_params must set max_age to whole seconds, as max_age=3600."
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"login_params must set {name} once: leave out the others."


def claim_faults(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield what is wrong with ``claims``."""
    names = [name for name, _ in pairs]
    for name in sorted(set(names)):
        if name in _OWN_KEYS:
            yield f"claims must not set {name}, which the login sets itself: choose another key."
        if names.count(name) > 1:
            yield f"claims must set {name} once: leave out the others."


def choice_faults(name: str, value: object, choices: tuple[str, ...]) -> Iterator[str]:
    """Yield that a value is none of those that can be chosen."""
    if value not in choices:
        yield f"{name} must be {' or '.join(map(repr, choices))}."


def switch_faults(name: str, value: object) -> Iterator[str]:
    """Yield that a value is no truth value: the text "false" would count as true."""
    if not isinstance(value, bool):
        yield f"{name} must be True or False."


def leeway_faults(leeway: object) -> Iterator[str]:
    """Yield what is wrong with ``leeway``."""
    seconds = leeway.total_seconds() if isinstance(leeway, timedelta) else leeway
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_LEEWAY_SECONDS:
        yield f"leeway must be between 0 and {MAX_LEEWAY_SECONDS} seconds, as 60: let the clocks be set by NTP."


def pairs_of(name: str, texts: Any, faults: list[str]) -> list[tuple[str, str]]:
    """Split a list of ``name=value``, or one such text, and note a fault where it is none."""
    texts = [texts] if isinstance(texts, str) else texts
    found = [_PAIR.fullmatch(text) for text in texts] if _are_texts(texts) else [None]
    if None in found:
        faults.append(f'{name} must be a list of name=value, one text each, as ["name=value"].')
    return [(pair[1], pair[2]) for pair in found if pair is not None]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
