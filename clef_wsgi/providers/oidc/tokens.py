"""ID tokens (OpenID Connect Core 1.0, section 3.1.3.7) and logout tokens (Back-Channel Logout 1.0, section 2.6)."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

from clef_wsgi.base.errors import ClefError
from clef_wsgi.providers.http_client import json_object

from .keys import ALGORITHMS, PublicKey

MAX_TOKEN_LENGTH = 16 * 1024
LIFETIME_WITHOUT_EXP = 120
LONGEST_LOGOUT_LIFETIME = 3600
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")
_FOREIGN_KEYS = ("crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip")
_ID_TOKEN_TYPES = ("jwt",)
_LOGOUT_TOKEN_TYPES = ("jwt", "logout+jwt")
_REFUSALS = {
    "token_malformed": "The token is no signed JWT of three parts and at most 16 KiB.",
    "token_algorithm": "The token is signed with an algorithm that is not among `algorithms`.",
    "token_header": "The token's header names a key of its own or an extension.",
    "token_type": "The token is of another type.",
    "token_signature": "The token's signature is not one of the login service's keys.",
    "token_issuer": "The token is of another issuer.",
    "token_audience": "The token is for another site.",
    "token_expired": "The token has expired.",
    "token_issued_at": "The token says no time of issue, or one in the future.",
    "token_subject": "The token names nobody, or not as it must.",
    "token_nonce": "The token belongs to another login, or holds a nonce where none may be.",
    "token_at_hash": "The token belongs to another access token.",
    "token_auth_time": "The login service did not ask the person as recently as it had to.",
    "token_event": "The token reports no logout.",
    "token_jti": "The token has no id.",
}


class BadToken(ClefError):
    """A token can't be believed. The provider turns it into ``LoginRefused`` or ``LogoutRefused``."""


def bad_token(reason: str) -> BadToken:
    """Return the error for a reason, with its sentence."""
    return BadToken(_REFUSALS[reason], reason=reason)


def _refuse(reason: str) -> NoReturn:
    raise bad_token(reason)


@dataclass(frozen=True)
class Token:
    """A JWT as it was read, before anything in it is believed."""

    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])

    def verifies(self, keys: Collection[PublicKey]) -> bool | None:
        """Try each key that may have signed this token; None where none of them has its ``kid``."""
        key_id = self.header.get("kid")
        fitting = [key for key in keys if key.fits(self.algorithm)]
        candidates = [key for key in fitting if key_id is None or key.key_id in (key_id, None)]
        if any(key.verifies(self.algorithm, self.signing_input, self.signature) for key in candidates):
            return True
        is_known = key_id is not None and any(key.key_id == key_id for key in keys)
        return False if is_known else None


@dataclass(frozen=True)
class Reader:
    """Read and judge the tokens for one client of one issuer.

    ``leeway`` is in seconds, ``clock`` returns seconds since the epoch.
    """

    issuer: str
    client_id: str
    algorithms: tuple[str, ...]
    leeway: float
    clock: Callable[[], float]

    def id_token(self, text: object) -> Token:
        """Read an ID token whose signature is still to be verified.

        :raises BadToken: it is none.
        """
        return self._read(text, _ID_TOKEN_TYPES)

    def logout_token(self, text: object) -> Token:
        """Read a logout token, and judge all of it that needs no key.

        :raises BadToken: with the reason.
        """
        token = self._read(text, _LOGOUT_TOKEN_TYPES)
        claims = token.claims
        self._check_origin(claims)
        self._check_times(claims, claims["iat"] + LIFETIME_WITHOUT_EXP, LONGEST_LOGOUT_LIFETIME)
        events = claims.get("events")
        if not isinstance(events, Mapping) or not isinstance(events.get(LOGOUT_EVENT), Mapping):
            _refuse("token_event")
        if "nonce" in claims:
            _refuse("token_nonce")
        if not isinstance(claims.get("jti"), str) or not claims["jti"]:
            _refuse("token_jti")
        if not {"sub", "sid"} & claims.keys() or not _is_subject(claims.get("sub", "-")):
            _refuse("token_subject")
        _check_session_id(claims)
        return token

    def check_id_token(self, token: Token, *, nonce: str, access_token: object, not_before: float | None) -> None:
        """Judge the claims of an ID token.

        :param not_before: the person must have been asked at this time or later; None where any time will do.
        :raises BadToken: with the reason.
        """
        claims = token.claims
        self._check_origin(claims)
        self._check_azp(claims)
        self._check_times(claims, None)
        if not _is_subject(claims.get("sub")):
            _refuse("token_subject")
        _check_session_id(claims)
        if not _equal(claims.get("nonce"), nonce):
            _refuse("token_nonce")
        if "at_hash" in claims and not _equal(claims["at_hash"], _at_hash(token.algorithm, access_token)):
            _refuse("token_at_hash")
        if not self._is_recent(claims.get("auth_time"), not_before):
            _refuse("token_auth_time")

    def _read(self, text: object, types: tuple[str, ...]) -> Token:
        parts = text.split(".", 3) if isinstance(text, str) and len(text) <= MAX_TOKEN_LENGTH else []
        if len(parts) != 3 or not all(map(_SEGMENT.fullmatch, parts[:2])):
            _refuse("token_malformed")
        header, claims = (json_object(_decoded(part)) for part in parts[:2])
        if header is None or claims is None:
            _refuse("token_malformed")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            _refuse("token_algorithm")
        if any(name in header for name in _FOREIGN_KEYS) or not isinstance(header.get("kid", ""), str):
            _refuse("token_header")
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in types:
            _refuse("token_type")
        return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2]))

    def _check_origin(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") != self.issuer:
            _refuse("token_issuer")
        if self.client_id not in _audiences(claims):
            _refuse("token_audience")
        if not is_number(claims.get("iat")) or claims["iat"] > self.clock() + self.leeway:
            _refuse("token_issued_at")

    def _check_azp(self, claims: Mapping[str, Any]) -> None:
        needs_azp = "azp" in claims or len(_audiences(claims)) > 1
        if needs_azp and claims.get("azp") != self.client_id:
            _refuse("token_audience")

    def _check_times(self, claims: Mapping[str, Any], default: float | None, longest: float | None = None) -> None:
        issued_at, end = claims["iat"], claims.get("exp", default)
        if not is_number(end) or end <= issued_at:
            _refuse("token_expired")
        if longest is not None:
            end = min(end, issued_at + longest)
        if self.clock() - self.leeway >= end:  # compared alone: an int may be too great to be added to a float
            _refuse("token_expired")

    def _is_recent(self, auth_time: object, not_before: float | None) -> bool:
        if not_before is None:
            return True
        return is_number(auth_time) and auth_time >= not_before - self.leeway


def _decoded(segment: str) -> bytes:
    try:
        return urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) if _SEGMENT.fullmatch(segment) else b""
    except ValueError:
        return b""


def _audiences(claims: Mapping[str, Any]) -> list[Any]:
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else [audience]


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a claim is a number; JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_subject(value: object) -> bool:
    return isinstance(value, str) and _SUBJECT.fullmatch(value) is not None


def _check_session_id(claims: Mapping[str, Any]) -> None:
    session_id = claims.get("sid", "-")
    if not isinstance(session_id, str) or not session_id.isprintable() or not 0 < len(session_id) <= 255:
        _refuse("token_subject")


def _equal(found: object, expected: str | None) -> bool:
    """Compare as bytes, in a time that does not tell where they differ."""
    if not isinstance(found, str) or expected is None:
        return False
    return hmac.compare_digest(found.encode(), expected.encode())


def _at_hash(algorithm: str, access_token: object) -> str | None:
    if not isinstance(access_token, str):
        return None
    digest = hashlib.new(ALGORITHMS[algorithm].hash_name, access_token.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")
