"""Shared by the commands: open the database, find an app or a person by a word, write an audit entry."""

from __future__ import annotations

import getpass
import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.database import settings
from clef_wsgi.server.database.connecting import sqlite_path
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.migrations import open_database
from clef_wsgi.server.errors import ConfigurationError, InvalidApp, Unknown
from clef_wsgi.server.records import apps, audit, people
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.people import Person

DATABASE_VARIABLE = "CLEF_SERVER_DATABASE"
DEFAULT_DATABASE = "clef.db"

_NOT_STARTED = "There is no server's database there yet: start the server once, or say where it is with --database."


def where(arguments: Namespace) -> str:
    """Return where the database is."""
    named = arguments.database if arguments.database is not None else os.environ.get(DATABASE_VARIABLE)
    return named or DEFAULT_DATABASE


@contextmanager
def opened(arguments: Namespace) -> Iterator[Database]:
    """Open the database, without creating one for a mistyped name.

    :raises ConfigurationError: no server was started on it yet, or it can't be used.
    """
    place = where(arguments)
    file = sqlite_path(place)
    if file and not file.is_file():
        raise ConfigurationError(_NOT_STARTED)
    database = open_database(place)
    try:
        with database.reading() as connection:
            if settings.read(connection, "rp_id") is None:
                raise ConfigurationError(_NOT_STARTED)
        yield database
        database.checkpoint()  # whoever copies the file has at least what was done here
    finally:
        database.close()


def origin(connection: Connection, arguments: Namespace) -> str:
    """Return the server's public address, as given now, or when it was started.

    :raises ConfigurationError: it was given to neither.
    """
    found: str | None = arguments.origin or settings.read(connection, settings.ORIGIN)
    if found is None:
        raise ConfigurationError("The server's address is not known yet: say it with --origin.")
    return found


def note(connection: Connection, action: str, subject: str, **details: Any) -> None:
    """Write an audit entry of the administrator, by the name that this machine knows them by."""
    place, now = platform.node(), system_clock()
    audit.note(connection, actor=_actor(), action=action, subject=subject, now=now, address=place, **details)


def find_app(connection: Connection, word: str) -> App:
    """Return the app of a name or id.

    :raises Unknown: there is none.
    """
    try:
        return apps.get(connection, word)
    except InvalidApp:
        found = [app for app in apps.all_apps(connection) if app.name == word]
    if not found:
        raise Unknown(f'There is no site "{word}": see "clef-wsgi server app list".')
    return found[0]


def find_person(connection: Connection, word: str) -> Person:
    """Return the person of an id or e-mail address.

    :raises Unknown: there is none, or it means more than one.
    """
    number = word.removeprefix("#")
    found = [person for person in people.all_people(connection) if str(person.id) == number or has_email(person, word)]
    if not found:
        raise Unknown(f'There is nobody called "{word}": "clef-wsgi server user list" shows numbers and addresses.')
    if len(found) > 1:
        raise Unknown(f'"{word}" is the address of several people: say which by their number.')
    return found[0]


def has_email(person: Person, email: str) -> bool:
    """Return whether that is their address, in any case."""
    return person.email is not None and person.email.casefold() == email.casefold()


def _actor() -> str:
    try:
        return f"admin:{os.environ.get('SUDO_USER') or getpass.getuser()}"
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"admin:{os.getuid()}"
