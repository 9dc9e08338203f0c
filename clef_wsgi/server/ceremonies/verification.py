"""Verify WebAuthn responses: registrations and assertions (WebAuthn 3, sections 7.1 and 7.2).

py_webauthn checks signature, challenge, origin, RP id and flags. What it leaves to its caller is checked here:
cross-origin use, backup eligibility, the length of an id, the form of a public key, the sign count. The caller
checks the owner, and that the challenge was issued.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import webauthn
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from webauthn import helpers
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import AuthenticatorTransport

from clef_wsgi.server.ceremonies.options import ALGORITHMS, RelyingParty
from clef_wsgi.server.credentials import AssertionResult, Credential, NewCredential
from clef_wsgi.server.errors import Refused

MAX_ID_LENGTH = 1023
"""Bytes of a credential id (WebAuthn 3, section 7.1)."""

_RSA_BITS = range(2048, 4096 + 1)
_USUAL_EXPONENT = 65537
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_TRANSPORTS = {transport.value for transport in AuthenticatorTransport}


class PasskeyRefused(Refused):
    """A ceremony proved nothing. ``reason`` is a short code for the log; people are shown no details."""

    message = "The passkey was not accepted."

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class SignCountFell(PasskeyRefused):
    """All is well but the sign count, which did not grow: there may be a copy (WebAuthn 3, section 6.1.1)."""

    def __init__(self) -> None:
        super().__init__("sign_count_fell")


@dataclass(frozen=True)
class CredentialResponse:
    """A response of a browser: parsed, not verified. ``challenge`` is the one it claims to answer."""

    credential: dict[str, Any] = field(repr=False)
    client_data: dict[str, Any] = field(repr=False)
    challenge: bytes = field(repr=False)
    credential_id: bytes = field(repr=False)

    @property
    def user_handle(self) -> bytes | None:
        """Return the user handle, if the response has one."""
        given = self.credential["response"].get("userHandle")
        return None if given is None else _decoded(given)


def read_response(credential: object) -> CredentialResponse:
    """Parse a response as far as to know which challenge it answers.

    :raises PasskeyRefused: it is not of that form.
    """
    with _refusing("malformed"):
        if not isinstance(credential, dict):
            raise TypeError
        client_data = json.loads(_decoded(credential["response"]["clientDataJSON"]).decode())
        credential_id = _decoded(credential["rawId"])
        if len(credential_id) > MAX_ID_LENGTH:
            raise ValueError
        return CredentialResponse(credential, client_data, _decoded(client_data["challenge"]), credential_id)


def verify_registration(answer: CredentialResponse, rp: RelyingParty, *, challenge: bytes) -> NewCredential:
    """Verify a registration response and return the new credential (WebAuthn 3, section 7.1).

    :param challenge: the one that was consumed for this response.
    :raises PasskeyRefused: not made for this server just now, without user verification, or of no usable form.
    """
    _check_not_embedded(answer)
    with _refusing("not_verified"):
        _check_attestation(answer)
        made = webauthn.verify_registration_response(
            credential=answer.credential,
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=rp.origin,
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
        _check_public_key(made.credential_public_key)
    if made.credential_id != answer.credential_id:  # so its length was looked at, too
        raise PasskeyRefused("credential_id")
    return NewCredential(
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        backup_eligible=made.credential_device_type == "multi_device",
        backed_up=made.credential_backed_up,
        transports=_transports(answer),
        aaguid=made.aaguid,
    )


def verify_assertion(
    answer: CredentialResponse, rp: RelyingParty, known: Credential, *, challenge: bytes
) -> AssertionResult:
    """Verify an assertion against a credential record (WebAuthn 3, section 7.2).

    :param challenge: the one that was consumed for this response.
    :raises SignCountFell: only that is wrong.
    :raises PasskeyRefused: not made for this server just now, or without user verification.
    """
    _check_not_embedded(answer)
    with _refusing("not_verified"):
        used = webauthn.verify_authentication_response(
            credential=answer.credential,
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=rp.origin,
            credential_public_key=known.public_key,
            # compared below instead: py_webauthn does it before it looks at the signature, so that
            # anybody who knows the id of a passkey could bring it under suspicion
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    if (used.credential_device_type == "multi_device") != known.backup_eligible:
        raise PasskeyRefused("backup_eligibility")
    if max(used.new_sign_count, known.sign_count) > 0 and used.new_sign_count <= known.sign_count:
        raise SignCountFell
    return AssertionResult(used.new_sign_count, used.credential_backed_up)


def _check_not_embedded(answer: CredentialResponse) -> None:
    """Refuse a ceremony inside another site's frame (WebAuthn 3, section 13.4.9)."""
    if answer.client_data.get("crossOrigin", False) is not False or "topOrigin" in answer.client_data:
        raise PasskeyRefused("cross_origin")


def _check_attestation(answer: CredentialResponse) -> None:
    """Refuse attestation other than none and self: none was asked for, so no certificate is ever read.

    Browsers may leave a self attestation under the preference "none" (WebAuthn 3, section 5.1.3).
    """
    attestation = helpers.parse_attestation_object(_decoded(answer.credential["response"]["attestationObject"]))
    is_self_signed = attestation.fmt == "packed" and attestation.att_stmt.x5c is None
    if attestation.fmt != "none" and not is_self_signed:
        raise ValueError


def _check_public_key(public_key: bytes) -> None:
    """Refuse a key that can't verify anything, or takes long to, at registration and not at its first use."""
    decoded = helpers.decode_credential_public_key(public_key)
    key = helpers.decoded_public_key_to_cryptography(decoded)  # raises for a point that is off the curve
    if isinstance(key, RSAPublicKey):
        is_usable = key.key_size in _RSA_BITS and key.public_numbers().e == _USUAL_EXPONENT
        expected = COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256
    elif isinstance(key, EllipticCurvePublicKey):
        is_usable, expected = isinstance(key.curve, SECP256R1), COSEAlgorithmIdentifier.ECDSA_SHA_256
    else:
        is_usable, expected = isinstance(key, Ed25519PublicKey), COSEAlgorithmIdentifier.EDDSA
    if not is_usable or decoded.alg != expected:
        raise ValueError


def _transports(answer: CredentialResponse) -> tuple[str, ...]:
    given = answer.credential["response"].get("transports")
    if not isinstance(given, list):
        return ()
    return tuple(sorted(_TRANSPORTS & {each for each in given if isinstance(each, str)}))


@contextmanager
def _refusing(reason: str) -> Iterator[None]:
    """Turn any exception into a refusal: parsers of foreign bytes raise all kinds of errors."""
    try:
        yield
    except PasskeyRefused:
        raise
    except Exception as error:
        raise PasskeyRefused(reason) from error


def _decoded(text: object) -> bytes:
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise ValueError
    return helpers.base64url_to_bytes(text)
