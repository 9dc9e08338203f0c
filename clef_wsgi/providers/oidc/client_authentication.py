"""Client authentication at the token endpoint (RFC 6749, section 2.3; OpenID Connect Core 1.0, section 9)."""

from __future__ import annotations

import os
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from joserfc.jwk import ECKey, OKPKey, RSAKey

from clef_wsgi.base.errors import ProviderUnavailable
from clef_wsgi.providers.http_client import Answer, HttpClient

from .keys import MIN_RSA_BITS, SigningKey, rsa_bits, sign
from .metadata import Metadata

METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
MAX_REQUESTS = 3
ASSERTION_SECONDS = 60
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_ALGORITHMS = {"RSA": ("RS256", "PS256"), "P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_EDWARDS = ("EdDSA", "Ed25519")
_REFUSED = ("invalid_client", "unauthorized_client")  # the second is what Keycloak and glewlwyd say


@dataclass(frozen=True)
class Attempt:
    """One way to authenticate. ``is_encoded`` tells form-encoded Basic from the plain one that some servers want."""

    method: str
    secret: str = field(default="", repr=False)
    is_encoded: bool = True


@dataclass(frozen=True)
class ClientKey:
    """The site's private key for ``private_key_jwt``; its id is the thumbprint (RFC 7638)."""

    key: SigningKey = field(repr=False)
    path: str

    @property
    def public_jwk(self) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "kid": self.key.thumbprint(), "use": "sig"}

    @property
    def is_readable_by_others(self) -> bool:
        return bool(os.stat(self.path).st_mode & 0o007)

    def algorithm(self, supported: tuple[str, ...] | None) -> str:
        """Return the first algorithm of this key that the provider names, else the usual one."""
        jwk = self.key.as_dict(private=False)
        names = _ALGORITHMS.get(str(jwk.get("crv", jwk["kty"])), _EDWARDS)
        return next((name for name in names if name in (supported or ())), names[0])


def read_client_key(path: str) -> ClientKey:
    """Read a private key in PEM.

    :raises ValueError: there is none that can be used; the text goes on after the option's name.
    """
    try:
        with open(os.fspath(path), "rb") as file:  # not a number, which would be a descriptor
            pem = file.read(64 * 1024)
        key = next(key for key in _imported(pem) if key.is_private)
        members = key.as_dict(private=False)
        is_long_enough = members["kty"] != "RSA" or rsa_bits(str(members["n"])) >= MIN_RSA_BITS
    except Exception:  # noqa: BLE001  of the system, joserfc or cryptography: the text may hold the key
        is_long_enough = False
    if not is_long_enough or members.get("crv", "P-256") not in (*_ALGORITHMS, "Ed25519"):
        raise ValueError(
            "must be the path of a readable PEM file with a private key without password: RSA of 2,048 bits or more, "
            "P-256, P-384, P-521 or Ed25519."
        )
    return ClientKey(key, path)


def _imported(pem: bytes) -> Iterator[SigningKey]:
    kinds: tuple[type[SigningKey], ...] = (ECKey, OKPKey, RSAKey)
    for kind in kinds:
        try:
            yield kind.import_key(pem)
        except Exception:  # noqa: BLE001, PERF203, S112  of another type
            continue


class ClientAuthentication:
    """Send forms as this client, and find out how the provider wants it to authenticate.

    What worked is remembered in the process. At most three requests are made for one form.
    """

    def __init__(
        self,
        http: HttpClient,
        *,
        issuer: str,
        client_id: str,
        client_secrets: tuple[str, ...],
        client_key: ClientKey | None,
        method: str,
        clock: Callable[[], float],
    ) -> None:
        self._http, self._issuer, self._client_id, self._clock = http, issuer, client_id, clock
        self._secrets, self.client_key, self._method = client_secrets, client_key, method
        self._attempts: tuple[Attempt, ...] = ()

    @property
    def working_method(self) -> str | None:
        """The method that was accepted last; None before the first answer."""
        return self._attempts[0].method if self._attempts else None

    def post(self, url: str, form: Mapping[str, str], metadata: Metadata, until: float) -> Answer:
        """POST a form as this client.

        :raises ProviderUnavailable: as ``HttpClient``; or ``provider_refused_app``.
        """
        attempts = self._attempts or tuple(self._possible(metadata))
        for number, attempt in enumerate(attempts[:MAX_REQUESTS]):
            answer = self._try(attempt, url, form, metadata, until)
            if answer is not None:
                self._attempts = (attempt, *attempts[:number], *attempts[number + 1 :])
                return answer
        if len(attempts) > MAX_REQUESTS:  # the next login goes on with the others
            self._attempts = (*attempts[MAX_REQUESTS:], *attempts[:MAX_REQUESTS])
        sentence = "The login service does not accept this site's client_id, or none of its secrets or keys."
        raise ProviderUnavailable(sentence, reason="provider_refused_app", http_status=401, cause=None)

    def _possible(self, metadata: Metadata) -> Iterator[Attempt]:
        methods = self._methods(metadata.names("token_endpoint_auth_methods_supported") or ())
        for secret in self._secrets if "secret" in methods[0] else ("",):
            yield from (Attempt(method, secret) for method in methods)
            differs = any(quote_plus(text) != text for text in (self._client_id, secret))
            if "client_secret_basic" in methods and differs:
                yield Attempt("client_secret_basic", secret, is_encoded=False)

    def _methods(self, advertised: tuple[str, ...]) -> tuple[str, ...]:
        if self._method != "auto":
            return (self._method,)
        if self.client_key is not None:
            return ("private_key_jwt",)
        if not self._secrets:
            return ("none",)
        is_post = "client_secret_post" in advertised and "client_secret_basic" not in advertised
        return ("client_secret_post", "client_secret_basic") if is_post else METHODS[:2]

    def _try(
        self, attempt: Attempt, url: str, form: Mapping[str, str], metadata: Metadata, until: float
    ) -> Answer | None:
        """Return the answer, or None where the client was not accepted."""
        fields, headers = self._credentials(attempt, metadata)
        try:
            answer = self._http.post_form(url, {**form, **fields}, headers=headers, until=until)
        except ProviderUnavailable as error:
            if vars(error).get("http_status") == 401:  # a refusal without JSON
                return None
            raise
        return None if answer.status == 401 or answer.document.get("error") in _REFUSED else answer

    def _credentials(self, attempt: Attempt, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
        if attempt.method == "client_secret_basic":
            # RFC 6749, section 2.3.1: both are form-encoded first.
            pair = [quote_plus(text) if attempt.is_encoded else text for text in (self._client_id, attempt.secret)]
            return {}, {"Authorization": "Basic " + b64encode(":".join(pair).encode()).decode("ascii")}
        if attempt.method == "client_secret_post":
            return {"client_id": self._client_id, "client_secret": attempt.secret}, {}
        if attempt.method == "none" or self.client_key is None:
            return {"client_id": self._client_id}, {}
        assertion = self._assertion(self.client_key, metadata)
        return {
            "client_id": self._client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }, {}

    def _assertion(self, client_key: ClientKey, metadata: Metadata) -> str:
        now = int(self._clock())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._issuer,  # one text, and never an endpoint (draft-ietf-oauth-rfc7523bis)
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        supported = metadata.names("token_endpoint_auth_signing_alg_values_supported")
        algorithm = client_key.algorithm(supported)
        return sign(algorithm, client_key.key, client_key.key.thumbprint(), claims)
