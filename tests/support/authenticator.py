"""A passkey in software: it makes and signs as a phone would, and lies wherever a test says so.

passkey = Authenticator("https://login.example.com")
credential = passkey.make(options)              # for navigator.credentials.create()
credential = passkey.sign(options, flags=UP)    # for navigator.credentials.get(), without user verification
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any
from urllib.parse import urlsplit

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40
"""Flags: a person was there, was verified; the passkey can be synced, is synced; a new passkey is in the data."""

ES256, EC2, P256 = -7, 2, 1


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


class Authenticator:
    """One passkey. Every keyword of :meth:`make` and :meth:`sign` replaces what an honest one would say."""

    def __init__(self, origin: str, *, flags: int = UP | UV, counts: bool = True, id_length: int = 32) -> None:
        self.origin = origin
        self.flags = flags
        self.step = 1 if counts else 0
        self.count = 0
        self.handle: bytes | None = None
        self.credential_id = secrets.token_bytes(id_length)
        self.key = ec.generate_private_key(ec.SECP256R1())

    def make(self, options: dict[str, Any], *, public_key: bytes | None = None, **lies: Any) -> dict[str, Any]:
        """The answer of ``create()``. ``fmt`` and ``statement`` (perhaps a function of the signed data) attest it."""
        self.handle = decoded(options["user"]["id"])
        credential_id = lies.get("attested_id", self.credential_id)
        attested = bytes(16) + len(credential_id).to_bytes(2, "big") + credential_id
        data = self._data(AT, attested + (public_key or self.cose()) + lies.get("trailing", b""), lies)
        client_data = self._client_data("webauthn.create", options, lies)
        statement = lies.get("statement", {})
        if callable(statement):
            statement = statement(self, data + hashlib.sha256(client_data).digest())
        attestation = {"fmt": lies.get("fmt", "none"), "attStmt": statement, "authData": data}
        response = {
            "clientDataJSON": encoded(client_data),
            "attestationObject": encoded(lies.get("attestation", cbor2.dumps(attestation))),
            "transports": ["internal", "hybrid", "telepathy"],
        }
        return self._credential(response, lies)

    def sign(self, options: dict[str, Any], **lies: Any) -> dict[str, Any]:
        """The answer of ``get()``."""
        data = self._data(0, lies.get("trailing", b""), lies)
        client_data = self._client_data("webauthn.get", options, lies)
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        handle = lies.get("user_handle", self.handle)
        response = {
            "clientDataJSON": encoded(client_data),
            "authenticatorData": encoded(data),
            "signature": encoded(lies.get("signature", signature)),
            "userHandle": handle if handle is None else encoded(handle),
        }
        return self._credential(response, lies)

    def cose(self, **changes: Any) -> bytes:
        """The public key (RFC 9053, section 7.1)."""
        numbers = self.key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        return cbor2.dumps({1: EC2, 3: ES256, -1: P256, -2: x, -3: y} | changes.get("cose", {}))

    def _data(self, flag: int, more: bytes, lies: dict[str, Any]) -> bytes:
        self.count = lies.get("sign_count", self.count + self.step)
        rp_id = str(lies.get("rp_id", urlsplit(self.origin).hostname))
        flags = lies.get("flags", self.flags) | flag
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big") + more

    def _client_data(self, type: str, options: dict[str, Any], lies: dict[str, Any]) -> bytes:
        said = {"type": type, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps(said | lies.get("client_data", {})).encode()

    def _credential(self, response: dict[str, Any], lies: dict[str, Any]) -> dict[str, Any]:
        credential_id = encoded(lies.get("credential_id", self.credential_id))
        return {"id": credential_id, "rawId": credential_id, "type": "public-key", "response": response}
