"""Print to the terminal, without control characters in text that people chose."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from clef_wsgi.server.clock import moment, rfc3339


def say(text: str = "") -> None:
    """Print a line, or several."""
    sys.stdout.write(f"{text}\n")


def warn(sentence: str) -> None:
    """Print a warning on stderr."""
    sys.stderr.write(f"clef-wsgi: {sentence}\n")


def say_json(value: Any) -> None:
    """Print JSON."""
    say(json.dumps(value, indent=2))


def say_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell."""
    cells = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Replace what a terminal would obey instead of showing it."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def when(at: int | None) -> str:
    """Format microseconds for people."""
    return f"{moment(at):%Y-%m-%d %H:%M UTC}" if at is not None else "-"


def iso(at: int | None) -> str | None:
    """Format microseconds for programs (RFC 3339)."""
    return rfc3339(at) if at is not None else None
