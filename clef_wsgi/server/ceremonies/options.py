"""Options of the WebAuthn registration and authentication ceremonies: discoverable credential, user verification."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import webauthn
from webauthn.helpers import structs
from webauthn.helpers.cose import COSEAlgorithmIdentifier

TIMEOUT_MS = 300_000
"""Time limit for the person at the browser's passkey dialog (WebAuthn's ``timeout``)."""

ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]


@dataclass(frozen=True)
class RelyingParty:
    """This server as the WebAuthn relying party."""

    id: str
    origin: str
    name: str


def registration_options(
    rp: RelyingParty,
    *,
    challenge: bytes,
    user_handle: bytes,
    user_name: str,
    display_name: str,
    known: Iterable[bytes] = (),
) -> dict[str, Any]:
    """Return options for ``navigator.credentials.create()`` (WebAuthn 3, section 5.4).

    :param known: ids of the person's credentials, so that no authenticator holds two.
    """
    return _as_json(
        webauthn.generate_registration_options(
            rp_id=rp.id,
            rp_name=rp.name,
            user_id=user_handle,
            user_name=user_name,
            user_display_name=display_name,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            attestation=structs.AttestationConveyancePreference.NONE,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=each) for each in known],
            supported_pub_key_algs=ALGORITHMS,
        )
    )


def assertion_options(rp: RelyingParty, *, challenge: bytes, allowed: Iterable[bytes] = ()) -> dict[str, Any]:
    """Return options for ``navigator.credentials.get()`` (WebAuthn 3, section 5.5).

    :param allowed: ids of the credentials that will do; none for a discoverable credential.
    """
    return _as_json(
        webauthn.generate_authentication_options(
            rp_id=rp.id,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            allow_credentials=[structs.PublicKeyCredentialDescriptor(id=each) for each in allowed],
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
    )


def _as_json(options: Any) -> dict[str, Any]:
    found: Mapping[str, Any] = json.loads(webauthn.options_to_json(options))
    return dict(found)
