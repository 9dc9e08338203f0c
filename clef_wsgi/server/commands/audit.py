"""``server audit``: show who did what, when, and from where."""

from __future__ import annotations

import argparse
import json

from clef_wsgi.server.commands import words
from clef_wsgi.server.commands.arguments import Commands, add_command, add_json
from clef_wsgi.server.commands.output import iso, say_json, say_table, when
from clef_wsgi.server.commands.support import opened
from clef_wsgi.server.records import audit

_HEADINGS = ("WHEN", "WHO", "WHAT", "WHOM", "FROM", "DETAILS")


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "audit", show, "Shows who did what, the newest last.")
    parser.add_argument(
        "--limit", type=words.count, default=100, metavar="N", help="how many lines (default: %(default)s)"
    )
    add_json(parser)


def show(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database, database.reading() as connection:
        entries = audit.read(connection, limit=arguments.limit)[::-1]
    if arguments.json:
        say_json([{**vars(entry), "at": iso(entry.at)} for entry in entries])
        return
    say_table(_HEADINGS, [_cells(entry) for entry in entries])


def _cells(entry: audit.AuditEntry) -> list[str]:
    details = json.dumps(entry.details) if entry.details else ""
    return [when(entry.at), entry.actor, entry.action, entry.subject, entry.address, details]
