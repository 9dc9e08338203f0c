"""``server user ...``: list, change, disable, recover and remove people."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, func, select

from clef_wsgi.server import names
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands import links, words
from clef_wsgi.server.commands.arguments import Commands, add_command, add_for_person, add_group, add_json
from clef_wsgi.server.commands.invite import add_ids, check_email_is_free, check_may_sign_in, import_ids
from clef_wsgi.server.commands.output import iso, printable, say, say_json, say_table, when
from clef_wsgi.server.commands.support import find_person, note, opened, origin
from clef_wsgi.server.database.schema import clef_ids, passkeys, sessions
from clef_wsgi.server.errors import ConfigurationError
from clef_wsgi.server.records import deactivation, enrolments, people
from clef_wsgi.server.records.people import Person

_HEADINGS = ("#", "NAME", "E-MAIL", "PHONE", "STATE", "PASSKEYS", "LAST SIGNED IN")


def add_to(commands: Commands) -> None:
    group = add_group(commands, "user", "The people who sign in.")
    add_json(add_command(group, "list", list_people, "Shows everybody."))
    parser = add_for_person(group, "set", change, "Changes what is known of a person.")
    parser.add_argument(
        "--name", type=words.or_nothing(words.name), help='the first word is the first name; "" forgets it'
    )
    parser.add_argument(
        "--email", type=words.or_nothing(words.email), help='an address that you vouch for; "" forgets it'
    )
    parser.add_argument("--phone", type=words.or_nothing(words.phone), help='a telephone number; "" forgets it')
    add_ids(parser)
    add_for_person(group, "disable", disable, "Keeps a person out, and logs them out everywhere.")
    add_for_person(group, "enable", enable, "Lets a disabled person in again.")
    parser = add_for_person(group, "recover", recover, "After a loss: removes all passkeys, and prints a link.")
    links.add_to(parser)
    parser = add_for_person(group, "remove", remove, "Forgets a person.")
    parser.add_argument("--yes", action="store_true", help="that is meant")


def list_people(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database, database.reading() as connection:
        rows = [_row(connection, person) for person in people.all_people(connection)]
    if arguments.json:
        say_json([{**row, "last_signed_in_at": iso(row["last_signed_in_at"])} for row in rows])
    elif rows:
        say_table(_HEADINGS, [_cells(row) for row in rows])
        _say_fallen_counts(rows)
    else:
        say('Nobody is invited yet: see "clef-wsgi server invite --help".')


def change(arguments: argparse.Namespace) -> None:
    values: dict[str, Any] = {}
    if arguments.name is not None:
        values["first_name"], values["last_name"] = names.split(arguments.name)
    if arguments.email is not None:
        values["email"] = arguments.email or None
    if arguments.phone is not None:
        values["phone_number"] = arguments.phone or None
    if not (values or arguments.id):
        raise ConfigurationError("What changes? Say it with --name, --email, --phone or --id.")
    with opened(arguments) as database, database.writing() as connection:
        person = find_person(connection, arguments.person)
        check_email_is_free(connection, arguments.email, but=person.id)
        if values:
            people.change(connection, person.id, **values)
        ids = import_ids(connection, person.id, arguments.id)
        note(connection, "user.set", f"person:{person.id}", changed=sorted(values), **({"ids": ids} if ids else {}))
        person = people.get(connection, person.id)
    say(f"Changed {_called(person)}. Sites hear of it at the next login.")


def disable(arguments: argparse.Namespace) -> None:
    person = _act(arguments, "user.disable", deactivation.disable, now=system_clock())
    say(f"{_called(person)} can't sign in any more, and is logged out.")


def enable(arguments: argparse.Namespace) -> None:
    person = _act(arguments, "user.enable", deactivation.enable)
    say(f"{_called(person)} can sign in again.")


def remove(arguments: argparse.Namespace) -> None:
    if not arguments.yes:
        raise ConfigurationError("A person who is removed can't be brought back, and is new to every site: add --yes.")
    person = _act(arguments, "user.remove", deactivation.remove, now=system_clock())
    say(f"{_called(person)} is removed, and logged out.")


def recover(arguments: argparse.Namespace) -> None:
    """Revoke all passkeys, sessions and links of a person, and print a new link."""
    with opened(arguments) as database, database.writing() as connection:
        address = origin(connection, arguments)
        person = find_person(connection, arguments.person)
        check_may_sign_in(person)
        deactivation.revoke_credentials(connection, person.id, now=system_clock())
        person = people.lock(connection, person.id)
        (link,) = links.make(connection, [person], enrolments.RECOVER, address, arguments.valid)
        note(connection, "user.recover", f"person:{person.id}")
    links.say_link(
        f"All passkeys of {_called(person)} are gone, and every login has ended. The sites are being told:\n"
        'see "clef-wsgi server deliveries list".\n'
        f"A link for {links.in_words(arguments.valid)} and one new passkey; make sure that it reaches them and nobody "
        "else:",
        link,
        arguments,
    )


def _act(arguments: argparse.Namespace, action: str, act: Callable[..., None], **more: int) -> Person:
    with opened(arguments) as database, database.writing() as connection:
        person = find_person(connection, arguments.person)
        act(connection, person.id, **more)
        note(connection, action, f"person:{person.id}")
    return person


def _called(person: Person) -> str:
    return f"{printable(person.display_name)} (#{person.id})"


def _row(connection: Connection, person: Person) -> dict[str, Any]:
    keys = connection.execute(select(passkeys).where(passkeys.c.person_id == person.id).order_by(passkeys.c.id))
    numbers = select(clef_ids.c.app_id, clef_ids.c.clef_id).where(clef_ids.c.person_id == person.id)
    last = select(func.max(sessions.c.created_at)).where(sessions.c.person_id == person.id)
    found = [
        {
            "name": key.name,
            "made_at": iso(key.created_at),
            "last_used_at": iso(key.last_used_at),
            "count_fell_at": iso(key.count_fell_at),
        }
        for key in keys
    ]
    return {
        "id": person.id,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "email": person.email,
        "phone_number": person.phone_number,
        "state": "disabled" if person.disabled_at else "active" if found else "invited",
        "passkeys": found,
        "ids": {row.app_id: row.clef_id for row in connection.execute(numbers)},
        "last_signed_in_at": connection.execute(last).scalar(),
    }


def _cells(row: dict[str, Any]) -> list[str]:
    name = " ".join(filter(None, (row["first_name"], row["last_name"])))
    reach = [row[key] or "-" for key in ("email", "phone_number")]
    last = when(row["last_signed_in_at"])
    return [str(row["id"]), name or "-", *reach, row["state"], str(len(row["passkeys"])), last]


def _say_fallen_counts(rows: list[dict[str, Any]]) -> None:
    """Warn of a sign count that went back: perhaps somebody has a copy (WebAuthn 3, section 6.1.1)."""
    for row in rows:
        for key in row["passkeys"]:
            if key["count_fell_at"]:
                say(
                    f'\n#{row["id"]}: the count of the passkey "{printable(key["name"])}" went back on '
                    f"{key['count_fell_at']}. Somebody may have a copy: ask, and if in doubt recover."
                )
