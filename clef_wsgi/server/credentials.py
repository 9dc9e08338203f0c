"""Values that a verified WebAuthn ceremony returns and storage keeps, so that neither imports the other."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credential:
    """A credential record, as a registration makes it and an assertion is verified by. ``public_key`` is a COSE key."""

    credential_id: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    aaguid: str


@dataclass(frozen=True)
class NewCredential(Credential):
    """A credential that was just registered."""

    transports: tuple[str, ...]


@dataclass(frozen=True)
class AssertionResult:
    """The authenticator data of a verified assertion, as far as it is kept."""

    sign_count: int
    backed_up: bool
