"""Translate errors of an authorization response (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, 3.1.2.6)."""

from __future__ import annotations

from .errors import ClefError, LoginRefused, ProviderUnavailable

_LATER = ("temporarily_unavailable", "server_error")
"""Errors that may be gone in a moment."""
_REFUSALS = {
    "access_denied": "The login was cancelled.",
    "login_required": "You are not logged in at the login service.",
    "account_selection_required": "The login service needs to know which account to use.",
    "interaction_required": "The login service needs you to do something there first.",
    "consent_required": "You have not allowed this site at the login service yet.",
}
"""Errors with a reason of their own, which is their name."""


def refused_by_provider(error: str) -> ClefError:
    """Return the error to raise for the ``error`` of an authorization response. Its text is never repeated."""
    if error in _REFUSALS:
        return LoginRefused(_REFUSALS[error], reason=error)
    if error in _LATER:
        return ProviderUnavailable("The login service can't do this right now.", reason="provider_error")
    return LoginRefused("The login service could not complete this login.", reason="provider_error")
