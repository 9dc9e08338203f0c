"""Claims about a person (OpenID Connect Core 1.0, section 5) and how they become ``clef.user``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clef_wsgi.base.errors import LoginRefused
from clef_wsgi.interfaces import account_of

MAX_CLAIM_LENGTH = 320
"""The longest e-mail address (RFC 5321, section 4.5.3.1), and more than any name needs."""

_STANDARD = {
    "first_name": "given_name",
    "last_name": "family_name",
    "name": "name",
    "preferred_username": "preferred_username",
    "email": "email",
    "groups": "groups",
}
_OF_SCOPE = {
    "profile": ("name", "given_name", "family_name", "preferred_username"),
    "email": ("email", "email_verified"),
    "groups": ("groups",),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class ClaimRules:
    """Which claims are wanted, which are required, and what ``clef.user`` calls them.

    :param claims: pairs of a key of ``clef.user`` and a claim.
    :param require_claims: pairs of a claim and a value; of several with one claim, one has to fit.
    """

    def __init__(
        self, scopes: Sequence[str], claims: Sequence[tuple[str, str]], require_claims: Sequence[tuple[str, str]]
    ) -> None:
        self._mapped = dict(claims)
        self._required: dict[str, set[str]] = {}
        for name, value in require_claims:
            self._required.setdefault(name, set()).add(value)
        asked = {name for scope in scopes for name in _OF_SCOPE.get(scope, ())}
        self.wanted = frozenset({*asked, *self._mapped.values(), *self._required})
        # An address that nobody verified may be somebody else's: it is taken only where the site says so.
        self._takes_any_email = self._mapped.get("email") == "email"

    def are_in(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether no wanted claim is missing, so that userinfo need not be asked."""
        return self.wanted <= claims.keys()

    def user(self, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what ``clef.user`` says beside ``id``.

        :param sources: the claims of the ID token, and those of userinfo where it was asked.
        :raises LoginRefused: ``claims_elsewhere`` or ``not_allowed``.
        """
        claims = self._merged(sources)
        self._check(claims)
        user = {key: _standard(key, claims.get(claim)) for key, claim in _STANDARD.items()}
        user |= {key: _usable(claims.get(claim)) for key, claim in self._mapped.items()}
        return {key: value for key, value in user.items() if value is not None}

    def _merged(self, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        claims: dict[str, Any] = {}
        for source in reversed(sources):
            claims |= source
        self._refuse_elsewhere(sources, claims)
        if not self._takes_any_email:
            claims.pop("email", None)
            # One source says both: the mark of one must not vouch for the address of the other.
            verified = [source["email"] for source in sources if "email" in source and _is_verified(source)]
            claims |= {"email": verified[0]} if verified else {}
        return claims

    def _refuse_elsewhere(self, sources: Sequence[Mapping[str, Any]], claims: Mapping[str, Any]) -> None:
        """Refuse distributed claims (OpenID Connect Core 1.0, section 5.6.2), which are never fetched."""
        names = [source.get("_claim_names") for source in sources]
        elsewhere = {name for each in names if isinstance(each, Mapping) for name in each}
        if ({*self.wanted, "groups"} & elsewhere) - claims.keys():
            sentence = "The login service does not send all that this site needs to know about you."
            raise LoginRefused(sentence, reason="claims_elsewhere")

    def _check(self, claims: Mapping[str, Any]) -> None:
        for name, allowed in self._required.items():
            found = claims.get(name)
            values = found if isinstance(found, list) else [found]
            if allowed.isdisjoint(map(_as_text, values)):
                sentence, account = "This account may not use this site.", account_of(claims, "sub")
                raise LoginRefused(sentence, reason="not_allowed", status=403, account=account)


def _is_verified(source: Mapping[str, Any]) -> bool:
    return source.get("email_verified") is True or source.get("email_verified") == "true"


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_CLAIM_LENGTH and not _CONTROL.search(value)


def _standard(key: str, value: object) -> object:
    if key == "groups":
        groups = value if isinstance(value, list) else [value]
        return groups if groups and all(map(_is_text, groups)) else None
    return value if _is_text(value) else None


def _usable(value: object) -> object:
    return value if _is_text(value) or not isinstance(value, str) else None
