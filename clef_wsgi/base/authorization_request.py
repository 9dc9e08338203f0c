"""Parse the authorization request: the query with which a site sends a browser (Clef wire protocol, section 1).

App and URL are proven by the caller, who knows the apps: all redirect URLs by :mod:`.redirect_rules`.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qs

from .redirect_rules import escape_query

_ONCE = ("state", "code_challenge", "code_challenge_method")
_FIELDS = ("app_id", "redirect_url", *_ONCE)
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64url (RFC 7636, section 4.2)
_MAX_FIELDS = 50
_MAX_STATE = 4096


class InvalidRequest(ValueError):
    """The request names no single app and URL, or another field is there twice: an error page, never a redirect."""


class InvalidChallenge(ValueError):
    """The PKCE challenge is not one of S256: ``plain`` is no proof (RFC 9700, section 2.1.1)."""


@dataclass(frozen=True)
class AuthorizationRequest:
    """A well-formed request. App and URLs are not proven yet; the browser goes back to the first of the URLs."""

    app_id: str
    redirect_urls: tuple[str, ...] = field(repr=False)
    state: str | None = field(repr=False)
    code_challenge: str | None = field(repr=False)


def parse(query: bytes) -> AuthorizationRequest:
    """Parse a raw query. App and URL may be there twice (omniauth-clef does that); all must be right.

    :raises InvalidRequest: as it says.
    :raises InvalidChallenge: as it says.
    """
    try:
        # surrogateescape: a state is handed back byte for byte, whatever the bytes
        text, errors = query.decode(errors="surrogateescape"), "surrogateescape"
        values = parse_qs(text, keep_blank_values=True, errors=errors, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise InvalidRequest from None
    given = {name: values.get(name, []) for name in _FIELDS}
    if any(len(given[name]) > 1 for name in _ONCE) or len("".join(given["state"])) > _MAX_STATE:
        raise InvalidRequest
    if len(set(given["app_id"])) != 1 or not given["redirect_url"]:
        raise InvalidRequest
    if given["code_challenge"] and not _is_s256(given["code_challenge"][0], given["code_challenge_method"]):
        raise InvalidChallenge("The site asked for a login in a way that is not supported here.")
    app_id, redirect_urls = given["app_id"][0], tuple(map(escape_query, given["redirect_url"]))
    state, challenge = (next(iter(given[name]), None) for name in ("state", "code_challenge"))
    return AuthorizationRequest(app_id, redirect_urls, state, challenge)


def is_proven(code_challenge: str | None, code_verifier: str | None) -> bool:
    """Verify PKCE with S256 (RFC 7636, section 4.6).

    A verifier without a challenge is a downgrade, and refused (RFC 9700, section 2.1.1).
    """
    if code_challenge is None or code_verifier is None:
        return code_challenge is None and code_verifier is None
    return hmac.compare_digest(code_challenge.encode(), s256_challenge(code_verifier).encode())


def s256_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636, section 4.2)."""
    digest = sha256(code_verifier.encode(errors="surrogatepass")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _is_s256(challenge: str, methods: list[str]) -> bool:
    return methods == ["S256"] and _CHALLENGE.fullmatch(challenge) is not None
