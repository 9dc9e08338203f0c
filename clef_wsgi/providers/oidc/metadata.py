"""Provider metadata (OpenID Connect Discovery 1.0, section 4; RFC 8414; RFC 9207; RFC 9126)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from clef_wsgi.base.errors import ProviderUnavailable
from clef_wsgi.base.options import check_url
from clef_wsgi.providers.http_client import HttpClient

WELL_KNOWN = "/.well-known/openid-configuration"

_REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL = ("userinfo_endpoint", "end_session_endpoint", "pushed_authorization_request_endpoint")


@dataclass(frozen=True)
class Metadata:
    """A provider's metadata, its addresses verified.

    ``addresses`` has those that are there by the names of the specification; ``clock_skew`` is how far the provider's
    clock is ahead, in seconds, where it sends a ``Date``.
    """

    addresses: Mapping[str, str] = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    clock_skew: float | None = None

    def names(self, member: str) -> tuple[str, ...] | None:
        """Return a list of texts, such as ``code_challenge_methods_supported``; None where there is none."""
        value = self.document.get(member)
        return tuple(filter(_is_text, value)) if isinstance(value, list) else None

    def says(self, member: str) -> bool:
        """Return a truth value, such as ``authorization_response_iss_parameter_supported``."""
        return self.document.get(member) is True


class Discovery:
    """Fetch the metadata of one issuer.

    :param clock: seconds since the epoch, for :attr:`Metadata.clock_skew`.
    """

    def __init__(
        self, http: HttpClient, issuer: str, *, allow_http_hosts: Collection[str], clock: Callable[[], float]
    ) -> None:
        self._http, self._issuer, self._clock = http, issuer, clock
        self._allow_http_hosts = allow_http_hosts

    def fetch(self) -> Metadata:
        """Ask the provider, with a deadline of its own.

        :raises ProviderUnavailable: it can't be asked, names another issuer (``issuer_mismatch``), or an address that
            can't be used (``provider_metadata``).
        """
        answer = self._http.get_json(self._issuer.removesuffix("/") + WELL_KNOWN)
        if answer.status != 200:
            sentence = (
                f"There is no provider metadata below the issuer (HTTP {answer.status}): see that issuer is right."
            )
            raise unusable(sentence)
        self._check_issuer(answer.document.get("issuer"))
        named = {name: answer.document[name] for name in (*_REQUIRED, *_OPTIONAL) if name in answer.document}
        for name in _REQUIRED:
            named.setdefault(name, None)
        addresses = {name: self._checked(name, address) for name, address in named.items()}
        skew = None if answer.date is None else answer.date - self._clock()
        return Metadata(addresses, answer.document, skew)

    def _check_issuer(self, found: object) -> None:
        """Compare byte for byte (OpenID Connect Discovery 1.0, section 4.3)."""
        if found == self._issuer:
            return
        sentence = "The provider's metadata names another issuer: copy its issuer from there, letter for letter."
        if found == self._issuer + "/":
            sentence = f"The provider's issuer ends with a slash: write issuer={self._issuer + '/'!r}."
        elif self._issuer == f"{found}/":
            sentence = f"The provider's issuer has no slash at its end: write issuer={found!r}."
        raise ProviderUnavailable(sentence, reason="issuer_mismatch", http_status=200, cause=None)

    def _checked(self, name: str, address: object) -> str:
        faults = check_url(address, name, allow_http_hosts=self._allow_http_hosts, allow_query=True)
        is_downgrade = self._issuer.startswith("https:") and not str(address).startswith("https:")
        if faults or is_downgrade or not isinstance(address, str):
            sentence = (
                f"The provider's metadata has no {name} that can be used: it must be an https:// address without "
                "user name and fragment."
            )
            raise unusable(sentence)
        return address


def unusable(sentence: str) -> ProviderUnavailable:
    """Return the error for metadata that lacks something."""
    return ProviderUnavailable(sentence, reason="provider_metadata", http_status=None, cause=None)


def _is_text(value: object) -> bool:
    return isinstance(value, str)
