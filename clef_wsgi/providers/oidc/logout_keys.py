"""The logout keys of logins and of logout tokens: which logout ends which login."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LogoutKeys:
    """Make the keys for one client of one issuer: JSON lists that begin with ``oidc``, issuer and client id.

    A login with ``sid`` has the person's key and the session's, one without has the person's and that of "person, no
    sid". ``ends_person`` lets every logout that names a person end all of that person's logins.
    """

    issuer: str
    client_id: str
    ends_person: bool

    def user_id(self, subject: str) -> str:
        """Return ``issuer#sub``: an issuer has no fragment."""
        return f"{self.issuer}#{subject}"

    def person(self, user_id: str) -> str:
        return self.key("person", user_id)

    def of_login(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys of a login beside the person's."""
        if claims.get("sid") is not None:
            return (self.key("session", claims["sid"]),)
        return (self.key("person without session", self.user_id(claims["sub"])),)

    def of_logout(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys that a logout token ends."""
        subject, session_id = claims.get("sub"), claims.get("sid")
        if subject is not None and (session_id is None or self.ends_person):
            return (self.person(self.user_id(subject)),)
        others = () if subject is None else self.of_login({"sub": subject})
        return (self.key("session", session_id), *others)

    def key(self, kind: str, name: Any) -> str:
        return json.dumps(["oidc", self.issuer, self.client_id, kind, name], separators=(",", ":"))
