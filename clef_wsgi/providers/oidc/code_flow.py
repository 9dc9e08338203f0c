"""Requests of a login: pushed authorization request, token and userinfo (OpenID Connect Core 1.0, 3.1 and 5.3)."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from clef_wsgi import login_hints
from clef_wsgi.base.errors import ClaimRejected, CodeRejected, LoginRefused, ProviderUnavailable
from clef_wsgi.providers.http_client import Answer, HttpClient, unavailable

from .client_authentication import ClientAuthentication
from .metadata import Metadata, unusable

_NO_SUCH_CODE = ("invalid_grant", "invalid_code")  # the second is glewlwyd's


def params_of_login(login_params: Mapping[str, str], hints: Mapping[str, Any]) -> dict[str, str]:
    """Return what one login adds to its address. Hints may be a visitor's: they ask for more than the site, never less.

    The shorter ``max_age`` counts, and ``prompt=login`` stays.
    """
    params = {**login_params, **{name: str(value) for name, value in login_hints.valid(hints).items()}}
    if "max_age" in login_params:
        params["max_age"] = min(params["max_age"], login_params["max_age"], key=int)
    if "login" in login_params.get("prompt", "").split():
        params["prompt"] = login_params["prompt"]
    return params


def authentication_request(
    params: Mapping[str, str], state: str, redirect_url: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the query of an authentication request, and what its end needs (Core 3.1.2.1; RFC 7636, section 4)."""
    nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode("ascii")
    query = {
        **params,
        "response_type": "code",
        "redirect_uri": redirect_url,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return query, {"nonce": nonce, "verifier": verifier}


def check_response_issuer(issuer: str | None, expected_issuer: str, metadata: Metadata) -> None:
    """Keep the code from a provider that another one's answer was mixed up with (RFC 9207, section 2.4)."""
    is_needed = metadata.says("authorization_response_iss_parameter_supported")
    if issuer != expected_issuer and (issuer is not None or is_needed):
        raise LoginRefused("This login was answered by another login service.", reason="wrong_issuer")


class CodeFlow:
    """Ask the provider for one client. Everything raises ``ProviderUnavailable`` where an answer makes no sense."""

    def __init__(self, http: HttpClient, authentication: ClientAuthentication, *, pushed: str) -> None:
        self._http, self._authentication, self._pushed = http, authentication, pushed

    def must_push(self, metadata: Metadata) -> bool:
        """Tell whether the request is to be pushed (RFC 9126, section 5)."""
        is_demanded = metadata.says("require_pushed_authorization_requests")
        return self._pushed == "always" or (self._pushed == "auto" and is_demanded)

    def push(self, query: Mapping[str, str], metadata: Metadata) -> str:
        """Push an authentication request, and return its ``request_uri`` (RFC 9126, section 2)."""
        address = metadata.addresses.get("pushed_authorization_request_endpoint")
        if address is None:
            raise unusable("The provider's metadata names no pushed_authorization_request_endpoint.")
        answer = self._authentication.post(address, query, metadata, self._http.deadline())
        request_uri = answer.document.get("request_uri")
        if answer.status not in (200, 201) or not isinstance(request_uri, str):
            raise _nonsense(answer)
        return request_uri

    def redeem(self, form: Mapping[str, str], metadata: Metadata, until: float) -> Mapping[str, Any]:
        """Return the token response to a code (OpenID Connect Core 1.0, section 3.1.3.3).

        :raises CodeRejected: the provider does not accept the code.
        """
        form = {"grant_type": "authorization_code", **form}
        answer = self._authentication.post(metadata.addresses["token_endpoint"], form, metadata, until)
        if answer.document.get("error") in _NO_SUCH_CODE:
            raise CodeRejected
        if answer.status != 200 or "error" in answer.document:
            raise _nonsense(answer)
        return answer.document

    def userinfo(self, access_token: object, subject: str, metadata: Metadata, until: float) -> Mapping[str, Any]:
        """Return the claims of the userinfo endpoint, about the same person (section 5.3.2)."""
        if not isinstance(access_token, str) or not access_token.isascii() or not access_token.isprintable():
            raise unavailable("provider_answer")
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = self._http.get_json(metadata.addresses["userinfo_endpoint"], headers=headers, until=until)
        if answer.media_type == "application/jwt":
            sentence = "The login service signs its userinfo: let it send plain JSON to this client."
            raise ProviderUnavailable(sentence, reason="userinfo_signed", http_status=answer.status, cause=None)
        if answer.status != 200:
            raise _nonsense(answer)
        if answer.document.get("sub") != subject:
            raise ClaimRejected("The login service told of another person.", reason="userinfo_subject")
        return answer.document


def _nonsense(answer: Answer) -> ProviderUnavailable:
    return unavailable("provider_answer", http_status=answer.status)
