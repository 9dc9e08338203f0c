"""Names of people, sites and passkeys, as somebody writes them: one line of text that can be seen."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    r"[ \u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]*"
)
"""Fillers, blanks and selectors (Unicode, Default_Ignorable_Code_Point), which ``str.isprintable`` lets pass."""


def is_name(text: str, longest: int) -> bool:
    """Return whether a text has 1 to ``longest`` characters that can be printed, and one that can be seen."""
    return 0 < len(text) <= longest and text.isprintable() and not _UNSEEN.fullmatch(text)


def split(text: str) -> tuple[str | None, str | None]:
    """Split a name into first and last: the first word is the first name."""
    first, _, last = text.partition(" ")
    return first or None, last or None


def tidied(text: str) -> str:
    """Strip white space around a text, and leave single spaces within."""
    return " ".join(text.split())
