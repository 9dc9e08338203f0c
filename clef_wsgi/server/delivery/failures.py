"""Short codes for why an attempt failed. ``texts.failure_text`` says each to people."""

from __future__ import annotations

from clef_wsgi.server.records import confirmations

TIMEOUT = "timeout"
CONNECTION = "connection"
NO_ADDRESS = "no_address"
REFUSED_ADDRESS = "refused_address"
TLS = "tls"
NOT_ASKED = confirmations.NOT_ASKED
ANSWER = "answer"
HTTP = "http"

CODES = (TIMEOUT, CONNECTION, NO_ADDRESS, REFUSED_ADDRESS, TLS, NOT_ASKED, ANSWER, HTTP)


def of_status(status: int) -> str:
    """Return the code for an answer that was neither 2xx nor 3xx."""
    return f"{HTTP}_{status}"
