"""The server's own errors, as one tree by meaning.

A message is a sentence for people, without a secret, a token, or text that came from outside.
"""

from __future__ import annotations

from clef_wsgi.base.errors import ClefError
from clef_wsgi.base.errors import ConfigurationError as ConfigurationError


class ServerError(ClefError):
    """The root of the server's own errors. ``str()`` of it is a sentence for people."""


class DatabaseTooNew(ConfigurationError):
    """The database was written by a newer version than this one."""


class DatabaseUnavailable(ServerError):
    """The database can't be reached, or is locked for too long. ``retry_after`` is in seconds."""

    message = "The database can't be asked right now."
    retry_after = 5


class Refused(ServerError):
    """The request is not allowed. Nothing was done."""

    message = "That is not possible."


class Unknown(Refused):
    """The person, app or other thing that was named does not exist."""

    message = "There is nothing by that name."


class InvalidApp(Refused):
    """No such app."""

    message = "Invalid App ID."


class InvalidSecret(Refused):
    """The app exists, the secret is not its own."""

    message = "Invalid App Secret."


class InvalidRedirect(Refused):
    """The URL is not registered: an open redirect."""

    message = "Invalid redirect URL."


class InvalidCode(Refused):
    """Unknown, used, too old, revoked by a logout, of another app, or without the right PKCE verifier."""

    message = "Invalid OAuth Code."


class InvalidHook(Refused):
    """The webhook of a login is not on the app's own domain. Its name is that of the wire protocol's parameter."""

    message = "Invalid logout hook URL."


class InvalidToken(Refused):
    """The access token is unknown, too old, or revoked."""

    message = "Invalid token."


class InvalidLogoutToken(Refused):
    """The logout token is unknown, of another app, or its delivery has ended."""

    message = "Invalid Logout Token."


class SessionEnded(Refused):
    """The browser's session at the server ended meanwhile."""

    message = "You are logged out."


class NotAllowed(Refused):
    """The person may not use this site."""

    message = "You may not use this site."


class LinkInvalid(Refused):
    """An enrolment link is unknown, too old, used, or replaced by a newer one."""

    message = "This link does not work any more."
