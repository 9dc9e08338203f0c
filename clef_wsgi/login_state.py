"""The ``state`` of a login: unguessable text that may carry the return address (RFC 6749, section 10.12).

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


def new_state(next: str | None, *, mark: str = "") -> str:
    """Return a new state with 256 random bits, and with ``next`` where there is room for it.

    :param next: a path of this site in ASCII, or None for the front page.
    :param mark: :data:`SECOND_TRY` or nothing.
    """
    state = mark + secrets.token_urlsafe(32)
    if next is None:
        return state
    whole = f"{state}.{base64.urlsafe_b64encode(next.encode()).decode().rstrip('=')}"
    return whole if len(whole) <= MAX_LENGTH else state


def next_in(state: str) -> str | None:
    """Return the return address that a state carries, not yet proven safe, or None."""
    _, _, packed = state.removeprefix(SECOND_TRY).partition(".")
    if not packed or len(state) > MAX_LENGTH:
        return None
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
