"""Make random secrets, digests, and signed logout tokens.

A secret of 256 random bits can't be guessed, so a plain SHA-256 of it is all that is stored: a slow hash is
for passwords.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable


def new_token() -> str:
    """Return 256 random bits, as 43 characters that need no escaping in a URL."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return the SHA-256 that is stored of a token. Any text will do, bytes that were no UTF-8 included."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def signed(body: str, keys: Iterable[bytes]) -> str:
    """Return ``BODY.SIG[.SIG...]``, an HMAC-SHA256 of ``body`` for each key, by which a site can tell a forged token.

    :param keys: for an app's logout tokens the digests of its active secrets, the newest first.
    """
    return ".".join([body, *(_base64url(hmac.digest(key, body.encode(), "sha256")) for key in keys)])


def derived(token: str, purpose: str) -> str:
    """Derive a second secret for one purpose, from which the first can't be computed."""
    return _base64url(digest(f"{purpose}\0{token}"))


def new_app_id() -> str:
    """Return 32 lowercase hex digits, as old clients expect."""
    return secrets.token_hex(16)


def new_handle() -> bytes:
    """Return a WebAuthn user handle: 64 random bytes that say nothing of the person (WebAuthn 3, section 14.6.1)."""
    return secrets.token_bytes(64)


def new_clef_id() -> int:
    """Return a random pairwise id in [2^30, 2^31): old columns have 32 bits, and small numbers may be imported."""
    return 2**30 + secrets.randbelow(2**30)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
