"""The one-time link with which a person makes a passkey, on paper or on a screen nearby.

Its secret is in the fragment, which no browser sends: a preview or a log does not get it. Knows nothing of
whom the link is for.
"""

from __future__ import annotations

import argparse
import io

import segno

from clef_wsgi.server.commands.arguments import add_origin
from clef_wsgi.server.commands.output import say

ENROL_PATH = "/enrol"


def add_to(parser: argparse.ArgumentParser) -> None:
    """The options of commands that print a link."""
    add_origin(parser)
    parser.add_argument("--no-qr", action="store_true", help="no QR code, the link alone")


def say_link(introduction: str, origin: str, secret: str, *, qr: bool) -> None:
    """Prints a link, and the same as a QR code."""
    link = f"{origin}{ENROL_PATH}#{secret}"
    say(f"{introduction}\n\n  {link}\n")
    if qr:
        say(_drawn(link))


def _drawn(link: str) -> str:
    """The QR code in half blocks, dark on light, with a margin: for a terminal with light text on a dark ground."""
    drawn = io.StringIO()
    segno.make(link, micro=False, error="l").terminal(drawn, border=2, compact=True)
    return drawn.getvalue()
