"""``server app allow``: set who may use a site. Whoever no longer may is logged out of it in the same transaction."""

from __future__ import annotations

import argparse

from sqlalchemy import Connection

from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands.arguments import Commands, add_for_app
from clef_wsgi.server.commands.output import printable, say
from clef_wsgi.server.commands.support import find_app, find_person, note, opened
from clef_wsgi.server.errors import ConfigurationError
from clef_wsgi.server.records import apps, logouts, people
from clef_wsgi.server.records.apps import App


def add_to(group: Commands) -> None:
    parser = add_for_app(group, "allow", allow, "Says who may use a site.")
    parser.add_argument("people", nargs="*", metavar="PERSON", help="a number or an e-mail address")
    parser.add_argument("--take-back", action="store_true", help="these people may use it no longer")
    doors = parser.add_mutually_exclusive_group()
    doors.add_argument("--everybody", action="store_true", help="it is for everybody from now on")
    doors.add_argument("--members-only", action="store_true", help="it is for nobody else from now on")


def allow(arguments: argparse.Namespace) -> None:
    if not (arguments.people or arguments.everybody or arguments.members_only):
        raise ConfigurationError("Who may use it? Name people, or say --everybody or --members-only.")
    if arguments.take_back and not arguments.people:
        raise ConfigurationError("Whose access is taken back? Name people.")
    with opened(arguments) as database, database.writing() as connection:
        app = find_app(connection, arguments.app)
        numbers = sorted({find_person(connection, word).id for word in arguments.people})
        for number in numbers:
            (apps.disallow if arguments.take_back else apps.allow)(connection, app.id, number)
        if arguments.everybody or arguments.members_only:
            apps.change(connection, app.id, open_to_all=arguments.everybody)
        app = apps.get(connection, app.id)
        _log_out_strangers(connection, app)
        note(connection, "app.allow", f"app:{app.id}", people=numbers, **_doors(arguments))
    say(_described(app))


def _doors(arguments: argparse.Namespace) -> dict[str, bool]:
    return {key: True for key in ("take_back", "everybody", "members_only") if getattr(arguments, key)}


def _log_out_strangers(connection: Connection, app: App) -> None:
    """Log out everybody who may not use the app, in the order of their ids, so that two of these never deadlock.

    Each is locked first: a login that was approved a moment ago is seen, and a later one sees this.
    """
    for person in people.all_people(connection):
        if not apps.may_use(connection, app, person.id):
            logouts.log_out_of_app(connection, person.id, app.id, now=system_clock())


def _described(app: App) -> str:
    if app.open_to_all:
        return f"{printable(app.name)} is for everybody. --members-only closes it."
    return f"{printable(app.name)} is for its members alone. --everybody opens it."
