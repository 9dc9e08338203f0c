"""Make and read the ``state`` of a login: unguessable text that may carry the return address (RFC 6749, 10.12).

A browser that opens several protected pages at once may keep the cookie of one answer alone; the return address then
comes back in the state. It chooses a page of this site and nothing else: whether a login goes on is decided by the
started login that the session holds for the whole text of the state.
"""

from __future__ import annotations

import base64
import binascii
import secrets

MAX_LENGTH = 1024
"""The longest state that carries a return address, in characters."""

SECOND_TRY = "r."
"""Begins the state of a login that started over: a browser without cookies remembers nothing else."""

LOGOUT = "o."
"""Begins the state with which a browser comes back from the provider's own logout."""


def new_state(next: str | None, *, mark: str = "") -> str:
    """Return a new state with 256 random bits, and with ``next`` where there is room for it.

    :param next: a path of this site in ASCII, or None for the front page.
    :param mark: :data:`SECOND_TRY` or nothing.
    """
    state = mark + secrets.token_urlsafe(32)
    if next is None:
        return state
    whole = f"{state}.{_packed(next)}"
    return whole if len(whole) <= MAX_LENGTH else state


def next_in(state: str) -> str | None:
    """Return the return address that a state carries, not yet proven safe, or None."""
    _, _, packed = state.removeprefix(SECOND_TRY).partition(".")
    return _unpacked(packed) if len(state) <= MAX_LENGTH else None


def logout_state(next: str | None) -> str:
    """Return the state for the way back from the provider's logout: the return address, and nothing that is kept.

    It only chooses a page of this site, so nothing is remembered or consumed for it.

    :param next: a path of this site in ASCII, or None for the front page.
    """
    return LOGOUT + _packed(next or "")


def next_after_logout(state: str) -> str | None:
    """Return the address that :func:`logout_state` holds, not yet proven safe, or None."""
    return _unpacked(state.removeprefix(LOGOUT)) if state.startswith(LOGOUT) else None


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(packed: str) -> str | None:
    if not packed:
        return None
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
