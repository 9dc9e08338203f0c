"""Why a site did not hear, as short codes, and the sentence for each.

Every code has a text ``failure_CODE``; ``http_503`` and its like share ``failure_http``.
"""

from __future__ import annotations

import re

from clef_wsgi.server.records import confirmations
from clef_wsgi.server.texts import text

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
    """The code for an answer that was neither 2xx nor 3xx."""
    return f"{HTTP}_{status}"


def sentence(language: str, failure: str) -> str:
    """A code, said to people."""
    found = re.fullmatch(f"{HTTP}_([0-9]+)", failure)
    if found:
        return text(language, f"failure_{HTTP}", status=found[1])
    return text(language, f"failure_{failure}")
