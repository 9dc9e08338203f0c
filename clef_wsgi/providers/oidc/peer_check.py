"""Check an OpenID Connect provider for ``clef-wsgi check``."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator

from clef_wsgi.providers.http_client import unavailable

from .client_authentication import ClientAuthentication
from .keys import PublicKey
from .metadata import Metadata
from .tokens import Reader

Finding = tuple[str, str, str]


def metadata_findings(metadata: Metadata, reader: Reader, keys: Collection[PublicKey]) -> Iterator[Finding]:
    """Compare the provider's metadata, keys and clock with what this site believes."""
    yield "ok", "The provider's metadata names the issuer, and addresses that can be used.", ""
    advertised = metadata.names("id_token_signing_alg_values_supported") or ()
    if not set(advertised) & set(reader.algorithms):
        remedy = "Let the provider sign this site's ID tokens with RS256, or add its algorithm to algorithms."
        yield "error", "The provider signs ID tokens with none of the algorithms that this site believes.", remedy
    usable = [key for key in keys if any(key.fits(algorithm) for algorithm in reader.algorithms)]
    if usable:
        yield "ok", f"The provider publishes {len(usable)} keys that can be used.", ""
    else:
        yield (
            "error",
            "None of the provider's keys is for the algorithms that this site believes.",
            "Compare algorithms.",
        )
    if "S256" not in (metadata.names("code_challenge_methods_supported") or ()):
        remedy = "None, where it takes PKCE all the same: log in once. Else update the provider."
        yield "warning", "The provider does not say that it supports PKCE with S256.", remedy
    if not metadata.says("authorization_response_iss_parameter_supported"):
        yield "ok", "The provider does not say that it sends iss (RFC 9207): let this site have one provider alone.", ""
    skew = metadata.clock_skew
    if skew is not None and abs(skew) > reader.leeway + 1:  # a Date has whole seconds
        yield "error", f"The provider's clock is {skew:+.0f} seconds off this machine's.", "Set both clocks by NTP."


def client_findings(
    authentication: ClientAuthentication, metadata: Metadata, redirect_url: str, until: float
) -> Iterator[Finding]:
    """Try a code that nobody has, and name what to register and to write."""
    key = authentication.client_key
    if key is not None:
        jwk = json.dumps(key.public_jwk, sort_keys=True)
        yield "ok", f"The site's public key, to be registered at the provider: {jwk}", ""
        if key.is_readable_by_others:
            yield "warning", "The file in client_key_file can be read by every user of this machine.", "chmod o= it."
    form = {"grant_type": "authorization_code", "code": f"check-{secrets.token_hex(16)}", "redirect_uri": redirect_url}
    form["code_verifier"] = secrets.token_urlsafe(32)
    answer = authentication.post(metadata.addresses["token_endpoint"], form, metadata, until)
    if answer.status == 200:
        raise unavailable("provider_answer", http_status=200)  # tokens for a code that nobody gave
    if answer.document.get("error") == "invalid_grant":
        method = authentication.working_method
        yield "ok", f"The provider accepts this site's id and secret: client_auth={method!r} says so at once.", ""
    else:
        remedy = "Log in once by hand; the provider's log says more."
        yield "warning", f"The provider refuses a code for another reason than that (HTTP {answer.status}).", remedy
    yield "ok", f"To be registered at the provider as a redirect address: {redirect_url}", ""
