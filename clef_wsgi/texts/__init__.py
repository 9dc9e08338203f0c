"""The sentences of the middleware's own pages, in catalogues of equal keys: by reason, and by what else stands there.

One more language is one file. JSON and the log stay English.
"""

from __future__ import annotations

from collections.abc import Mapping

from webob.acceptparse import create_accept_language_header

from clef_wsgi.base.errors import ClefError

from .de import TEXTS as _DE
from .en import TEXTS as _EN

_CATALOGUES: Mapping[str, Mapping[str, str]] = {"en": _EN, "de": _DE}
LANGUAGES = tuple(_CATALOGUES)
KEYS = _EN.keys()
_KEYS_OF_SENTENCES = {sentence: key for key, sentence in _EN.items()}
_OF_OPERATORS = ("provider_refused_app", "issuer_mismatch", "provider_metadata", "provider_keys", "userinfo_signed")
"""Reasons that only whoever runs the site can mend: a visitor reads one sentence for all of them."""


def text(language: str, key: str, **values: object) -> str:
    """Return a sentence, with ``{name}`` filled in.

    :raises KeyError: there is no such sentence.
    """
    return _CATALOGUES[language][key].format(**values)


def wanted_language(accept_language: str | None) -> str:
    """Return the language that fits ``Accept-Language`` best (RFC 9110, section 12.5.4); English where none does."""
    header = create_accept_language_header(accept_language)
    wanted = sorted(getattr(header, "parsed", None) or (), key=lambda pair: -pair[1])
    tags = (tag.partition("-")[0].lower() for tag, weight in wanted if weight > 0)
    return next((tag for tag in tags if tag in _CATALOGUES), LANGUAGES[0])


def is_of_operators(error: ClefError) -> bool:
    """Return whether only whoever runs the site can mend this: another try won't help a visitor."""
    return error.reason in _OF_OPERATORS


def sentence_for(error: ClefError, language: str) -> str:
    """Return what a visitor reads of an error. A sentence that is not the package's own passes as it is."""
    if is_of_operators(error):
        return text(language, "operators")
    if error.reason.startswith("token_"):
        return text(language, "token")
    key = _KEYS_OF_SENTENCES.get(error.message)
    return error.message if key is None else text(language, key)
