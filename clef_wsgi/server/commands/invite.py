"""``server invite``: print an enrolment link for somebody new, or for each who has no passkey yet."""

from __future__ import annotations

import argparse
from collections.abc import Container

from sqlalchemy import Connection, exists, select

from clef_wsgi.server import names
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands import links, words
from clef_wsgi.server.commands.arguments import Commands, add_command
from clef_wsgi.server.commands.output import printable, say_json
from clef_wsgi.server.commands.support import find_app, find_person, has_email, note, opened, origin
from clef_wsgi.server.database.schema import passkeys
from clef_wsgi.server.errors import ConfigurationError, Refused
from clef_wsgi.server.records import clef_ids, enrolments, people
from clef_wsgi.server.records.people import Person


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "invite", invite, "Prints a one-time link with which somebody makes a passkey.")
    parser.add_argument(
        "person", nargs="?", metavar="PERSON", help="somebody who has no passkey yet: a number or an e-mail address"
    )
    parser.add_argument("--name", type=words.name, help="of somebody new; the first word is the first name")
    parser.add_argument("--email", type=words.email, help="an address that you vouch for: sites may trust it")
    parser.add_argument("--phone", type=words.phone, help="a telephone number, likewise")
    add_ids(parser)
    parser.add_argument(
        "--all-without-passkey", action="store_true", help="everybody who has none yet: needs --csv or --json"
    )
    parser.add_argument("--csv", action="store_true", help="print CSV, for a mail merge")
    links.add_to(parser)


def add_ids(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that take old ids of a person."""
    parser.add_argument(
        "--id",
        type=words.old_id,
        action="append",
        default=[],
        metavar="APP=OLD_ID",
        help="the number by which a site has known them so far; may be repeated",
    )


def import_ids(connection: Connection, person_id: int, ids: list[tuple[str, int]]) -> list[str]:
    """Give a person the numbers by which sites know them. Return the ids of these sites.

    :raises Refused: a number is taken, or they have another one there.
    """
    if ids:
        people.lock(connection, person_id)
    apps = [(find_app(connection, word).id, number) for word, number in ids]
    for app_id, number in apps:
        clef_ids.import_id(connection, app_id, person_id, number)
    return [app_id for app_id, _ in apps]


def invite(arguments: argparse.Namespace) -> None:
    if arguments.all_without_passkey:
        _invite_all(arguments)
        return
    with opened(arguments) as database, database.writing() as connection:
        address = origin(connection, arguments)
        person = _known(connection, arguments) if arguments.person else _new(connection, arguments)
        import_ids(connection, person.id, arguments.id)
        person = people.lock(connection, person.id)
        (link,) = links.make(connection, [person], enrolments.INVITE, address, arguments.valid)
        note(connection, "invite", f"person:{person.id}")
    if arguments.csv:
        links.say_csv([link])
        return
    who = f"{printable(person.display_name)} (#{person.id})"
    links.say_link(f"A link for {who}, for {links.in_words(arguments.valid)} and one passkey:", link, arguments)


def invite_many(
    connection: Connection, arguments: argparse.Namespace, *, among: Container[int] | None = None
) -> list[links.Link]:
    """Make a link for each who may sign in and can't yet, and one audit entry.

    :param among: the ids of those who are meant; ``None``: everybody.
    """
    address = origin(connection, arguments)
    owners = set(connection.execute(select(passkeys.c.person_id).distinct()).scalars())
    found = [
        person
        for person in people.all_people(connection, lock=True)
        if person.may_sign_in and person.id not in owners and (among is None or person.id in among)
    ]
    made = links.make(connection, found, enrolments.INVITE, address, arguments.valid)
    note(connection, "invite", "people", people=[person.id for person in found])
    return made


def _invite_all(arguments: argparse.Namespace) -> None:
    if arguments.person or arguments.name or arguments.email or arguments.phone or arguments.id:
        raise ConfigurationError("--all-without-passkey is for everybody: name nobody beside it.")
    if not (arguments.csv or arguments.json):
        raise ConfigurationError("That may be many links: say --csv or --json, and where they go, such as > links.csv.")
    with opened(arguments) as database, database.writing() as connection:
        found = invite_many(connection, arguments)
    if arguments.csv:
        links.say_csv(found)
    else:
        say_json([link.as_row() for link in found])


def _known(connection: Connection, arguments: argparse.Namespace) -> Person:
    if arguments.name or arguments.email or arguments.phone:
        raise ConfigurationError('What is known of somebody is changed by "clef-wsgi server user set".')
    person = find_person(connection, arguments.person)
    if connection.execute(select(exists().where(passkeys.c.person_id == person.id))).scalar():
        raise Refused(f'They have a passkey. If it is lost: "clef-wsgi server user recover {person.id}".')
    check_may_sign_in(person)
    return person


def _new(connection: Connection, arguments: argparse.Namespace) -> Person:
    if not (arguments.name or arguments.email):
        raise ConfigurationError("Who is invited? Say it with --name or --email, best with both.")
    check_email_is_free(connection, arguments.email)
    first, last = names.split(arguments.name or "")
    return people.add(
        connection,
        now=system_clock(),
        first_name=first,
        last_name=last,
        email=arguments.email,
        phone_number=arguments.phone,
    )


def check_email_is_free(connection: Connection, email: str | None, *, but: int | None = None) -> None:
    """Check that no two people share an address, or sites could mistake one for the other.

    :param but: the person who may have it already.
    :raises Refused: somebody else has it.
    """
    for person in people.all_people(connection):
        if email and has_email(person, email) and person.id != but:
            raise Refused(f"#{person.id} has that e-mail address. Without a passkey yet: invite {person.id}.")


def check_may_sign_in(person: Person) -> None:
    """Check that a link would work.

    :raises Refused: the person is disabled.
    """
    if not person.may_sign_in:
        raise Refused(f'They are disabled: "clef-wsgi server user enable {person.id}" first.')
