"""The sentences of pages and commands, in catalogues of equal keys."""

from __future__ import annotations

import re

from clef_wsgi.server.texts.de import TEXTS as _DE
from clef_wsgi.server.texts.en import TEXTS as _EN

_CATALOGUES = {"en": _EN, "de": _DE}
LANGUAGES = tuple(_CATALOGUES)


def text(language: str, key: str, **values: object) -> str:
    """Return a sentence, with ``{name}`` filled in.

    :raises KeyError: there is no such sentence.
    """
    return _CATALOGUES[language][key].format(**values)


def failure_text(language: str, failure: str) -> str:
    """Return the sentence for a code of ``delivery.failures``; ``http_503`` and its like share one."""
    found = re.fullmatch("http_([0-9]+)", failure)
    return text(language, "failure_http", status=found[1]) if found else text(language, f"failure_{failure}")
