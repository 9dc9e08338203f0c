"""Define every error of the package, as one tree by meaning.

Data stands on attributes (``reason``, ``status`` and the details of a class), so that nobody parses a
message. A message is a sentence for people: it never holds a secret, a token, or text that came from a
peer.
"""

from __future__ import annotations

from typing import Any


class ClefError(Exception):
    """The root of the tree.

    :param message: a sentence for people; without it the class's own.
    :param reason: a short code for machines (docs/errors.md lists them all); without it the class's own.
    :param details: what else is known, set as attributes (``status`` may be given here too).
    """

    reason: str = "error"
    status: int = 500
    message: str = "Something went wrong."

    def __init__(self, message: str | None = None, *, reason: str | None = None, **details: Any) -> None:
        self.message = message or self.message
        self.reason = reason or self.reason
        vars(self).update(details)
        super().__init__(self.message)


class ConfigurationError(ClefError, ValueError):
    """Something can't work as it was set up. ``faults`` holds one sentence for each fault."""

    reason = "configuration"

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__(" ".join(faults))


class LoginRefused(ClefError):
    """A login can't go on. ``on_login`` raises it too: ``LoginRefused("Members only.", reason="not_a_member")``."""

    reason = "login_refused"
    status = 400
    message = "This login could not be completed."


class StateMismatch(LoginRefused):
    """The answer belongs to no login that this browser started: login CSRF (RFC 6749, section 10.12)."""

    reason = "state_mismatch"
    message = "This login was not started here, or it was already used."


class StateExpired(LoginRefused):
    """The login was started longer ago than ``state_lifetime``."""

    reason = "state_expired"
    message = "This login took too long."


class CodeRejected(LoginRefused):
    """The provider does not accept the code: used before, too old, or of another application."""

    reason = "code_rejected"
    message = "The login service did not accept this login: it may be too old, or used already."


class ClaimRejected(LoginRefused):
    """The provider's claims about the person can't be believed or used."""

    reason = "claim_rejected"
    message = "The login service's answer about you could not be used."


class LoggedOutMeanwhile(LoginRefused):
    """A logout came in between the start and the end of the exchange; it wins."""

    reason = "logged_out_meanwhile"
    message = "You logged out while this login was under way."


class LogoutRefused(ClefError):
    """A back-channel logout request, or a request to log out, is not genuine or not well-formed."""

    reason = "logout_refused"
    status = 400
    message = "This logout could not be accepted."


class ProviderUnavailable(ClefError):
    """The provider can't be asked, or its answer makes no sense. ``retry_after`` is in seconds."""

    reason = "provider_unavailable"
    status = 503
    retry_after: int = 5
    message = "The login service can't be reached right now."


class StoreUnavailable(ClefError):
    """Logins can't be checked or ended right now. ``retry_after`` is in seconds."""

    reason = "store_unavailable"
    status = 503
    retry_after: int = 5
    message = "Logins can't be checked right now."
