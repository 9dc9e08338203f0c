"""``server import``: import the people of a site, with their ids there. One transaction, idempotent."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, TextIO

from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands import links
from clef_wsgi.server.commands.arguments import Commands, add_command, add_json
from clef_wsgi.server.commands.invite import invite_many
from clef_wsgi.server.commands.links import Link
from clef_wsgi.server.commands.output import printable, say_json
from clef_wsgi.server.commands.people_file import read_people
from clef_wsgi.server.commands.support import find_app, note, opened
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.imports import ImportResult, Skipped, import_people


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "import", run, "Takes in the people of a site by the ids that it knows them by.")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="CSV with the columns clef_id, email, and first_name, last_name or name"
    )
    parser.add_argument("--app", required=True, metavar="APP", help="the site: its name or id")
    parser.add_argument("--invite", action="store_true", help="print a link for each who has no passkey, as CSV")
    links.add_validity(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    entries, unreadable = read_people(arguments.file)
    with opened(arguments) as database, database.writing() as connection:
        app = find_app(connection, arguments.app)
        outcome = import_people(connection, app.id, entries, now=system_clock())
        numbers = {name: len(people) for name, people in vars(outcome).items()}
        skipped = sorted((*unreadable, *outcome.skipped), key=lambda each: each.row)
        note(connection, "import", f"app:{app.id}", **{**numbers, "skipped": len(skipped)})
        theirs = {*outcome.made, *outcome.linked, *outcome.known}
        made = invite_many(connection, arguments, among=theirs) if arguments.invite else []
    if arguments.json:
        _say_json(outcome, skipped, made if arguments.invite else None)
        return
    _report(app, outcome, skipped, sys.stderr if arguments.invite else sys.stdout)
    if arguments.invite:
        links.say_csv(made)


def _say_json(outcome: ImportResult, skipped: list[Skipped], made: list[Link] | None) -> None:
    found: dict[str, Any] = {**vars(outcome), "skipped": [vars(each) for each in skipped]}
    if made is not None:
        found["links"] = [link.as_row() for link in made]
    say_json(found)


def _report(app: App, outcome: ImportResult, skipped: list[Skipped], to: TextIO) -> None:
    lines = [
        f"{printable(app.name)}: {len(outcome.made)} people are new here, {len(outcome.linked)} were here already by "
        f"their address, {len(outcome.known)} were imported before.",
        *([f"{len(skipped)} rows were skipped:"] if skipped else []),
        *(f"  row {each.row}, {printable(each.email) or 'no address'}: {each.why}" for each in skipped),
    ]
    to.writelines(f"{line}\n" for line in lines)
