"""``server backup`` and ``server restore``. What a restored database must forget is in restoring.py."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands import restoring
from clef_wsgi.server.commands.arguments import Commands, add_command
from clef_wsgi.server.commands.output import say
from clef_wsgi.server.commands.support import note, opened, where
from clef_wsgi.server.database.backup import copy_sqlite
from clef_wsgi.server.database.connecting import sqlite_path
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.migrations import open_database
from clef_wsgi.server.errors import ConfigurationError, Refused

_USE_PG_DUMP = "This database is PostgreSQL's: back it up with pg_dump, and bring it back with pg_restore."
_NOT_FOR_FILES = (
    "This database is PostgreSQL's: bring it back with pg_restore, then run this command without a file, "
    "so that every login ends."
)
_RESTORED = """\
Restored, and every login has ended. Whoever was invited and not yet in needs a new link.
What happened since the backup is forgotten: passkeys and people removed since then work again."""


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "backup", backup, "Copies the database (SQLite) while the server runs.")
    parser.add_argument("file", type=Path, metavar="FILE", help="the copy: a new file, for the owner's eyes alone")
    parser = add_command(commands, "restore", restore, "Brings a backup back, and ends all logins.")
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="the backup; without it, all logins end and no more"
    )
    parser.add_argument("--yes", action="store_true", help="that is meant")


def backup(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database:
        if database.path is None:
            raise ConfigurationError(_USE_PG_DUMP)
        try:
            copy_sqlite(database.path, arguments.file)
        except FileExistsError:
            raise Refused(f"{arguments.file} is there already: name a new file.") from None
        try:
            with database.writing() as connection:  # last, so that no failed one stands there
                note(connection, "backup", "database")
        except BaseException:
            arguments.file.unlink()  # no copy that the audit has not
            raise
    say(f"Copied to {arguments.file}. It holds all that the database holds: keep it as safe.")


def restore(arguments: argparse.Namespace) -> None:
    if not arguments.yes:
        raise ConfigurationError("Everybody has to sign in again everywhere: add --yes.")
    if arguments.file is None:
        with opened(arguments) as database:
            _end_all(database)
    else:
        _bring_back(arguments.file, where(arguments))
    say(_RESTORED)


def _end_all(database: Database) -> None:
    with database.writing() as connection:
        restoring.end_all(connection, now=system_clock())
        note(connection, "restore", "database")


def _bring_back(file: Path, place: str) -> None:
    path = sqlite_path(place)
    if path is None:
        raise ConfigurationError(_NOT_FOR_FILES)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        draft = restoring.draft(file, Path(folder))
        with closing(open_database(draft)) as database:
            _end_all(database)
        restoring.put_in_place(draft, path)
