"""Print enrolment links: on a screen nearby with a QR code, as JSON, or as CSV for a mail merge.

A link's secret is in the fragment, which no browser sends: a preview or a log does not get it.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import segno
from sqlalchemy import Connection

from clef_wsgi.server.clock import DAY, HOUR, system_clock
from clef_wsgi.server.commands import words
from clef_wsgi.server.commands.arguments import add_json, add_origin
from clef_wsgi.server.commands.output import iso, say, say_json
from clef_wsgi.server.records import enrolments
from clef_wsgi.server.records.people import Person

ENROL_PATH = "/enrol"
COLUMNS = ("person", "first_name", "last_name", "email", "link", "expires_at")
_FORMULA = ("=", "+", "-", "@", "\t")  # what a spreadsheet would run


@dataclass(frozen=True)
class Link:
    """A link that was just made, and whom it is for."""

    person: Person
    url: str = field(repr=False)
    expires_at: int

    def as_row(self) -> dict[str, Any]:
        """Return the link as JSON and CSV have it, for programs."""
        person = self.person
        values = (person.id, person.first_name, person.last_name, person.email, self.url, iso(self.expires_at))
        return dict(zip(COLUMNS, values, strict=True))


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that print one link."""
    add_validity(parser)
    add_json(parser)
    parser.add_argument("--no-qr", action="store_true", help="no QR code, the link alone")


def add_validity(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that make links."""
    add_origin(parser)
    parser.add_argument(
        "--valid",
        type=words.validity,
        default=enrolments.LIFETIME,
        metavar="TIME",
        help="how long: 36h, 14d (default: 1d)",
    )


def make(connection: Connection, people: Iterable[Person], purpose: str, origin: str, lifetime: int) -> list[Link]:
    """Make a new link for each; their older ones stop working. The caller has locked them."""
    now, known = system_clock(), {person.id: person for person in people}
    secrets = enrolments.issue_many(connection, known, purpose=purpose, now=now, lifetime=lifetime)
    return [Link(known[whose], f"{origin}{ENROL_PATH}#{secret}", now + lifetime) for whose, secret in secrets.items()]


def say_link(introduction: str, link: Link, arguments: argparse.Namespace) -> None:
    """Print a link, and the same as a QR code; or as JSON."""
    if arguments.json:
        say_json(link.as_row())
        return
    say(f"{introduction}\n\n  {link.url}\n")
    if not arguments.no_qr:
        say(_drawn(link.url))


def say_csv(links: Iterable[Link]) -> None:
    """Print links for a mail merge (RFC 4180). A cell that a spreadsheet would take for a formula begins with '."""
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for link in links:
        writer.writerow({name: _harmless(value) for name, value in link.as_row().items()})


def in_words(lifetime: int) -> str:
    """Say how long a link works, for people."""
    number, unit = (lifetime // DAY, "day") if lifetime % DAY == 0 else (lifetime // HOUR, "hour")
    return f"one {unit}" if number == 1 else f"{number} {unit}s"


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _drawn(link: str) -> str:
    """Draw a QR code in half blocks, dark on light, with a margin: for a terminal with light text on a dark ground."""
    drawn = io.StringIO()
    segno.make(link, micro=False, error="l").terminal(drawn, border=2, compact=True)
    return drawn.getvalue()
