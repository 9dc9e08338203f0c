"""Import people of a site: find them by e-mail address or add them, each with the pairwise id of before.

The administrator vouches for the addresses, as with an invitation. A conflict is skipped and reported; the same
entries again change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select

from clef_wsgi.server.database.schema import clef_ids
from clef_wsgi.server.records import people
from clef_wsgi.server.records.people import Person


@dataclass(frozen=True)
class ImportEntry:
    """One row of what the site knows."""

    row: int
    clef_id: int
    email: str = field(repr=False)
    first_name: str | None = field(repr=False)
    last_name: str | None = field(repr=False)


@dataclass(frozen=True)
class Skipped:
    """A row that was not imported."""

    row: int
    email: str = field(repr=False)
    why: str


@dataclass(frozen=True)
class ImportResult:
    """The ids of people: added, linked to the site, and imported before."""

    made: list[int] = field(default_factory=list)
    linked: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def import_people(connection: Connection, app_id: str, entries: Iterable[ImportEntry], *, now: int) -> ImportResult:
    """Import all entries in the caller's transaction. No two entries share an address or a number."""
    outcome, by_email = ImportResult(), _by_email(connection)
    ids = select(clef_ids.c.clef_id, clef_ids.c.person_id).where(clef_ids.c.app_id == app_id)
    owners = {row.clef_id: row.person_id for row in connection.execute(ids)}
    there, new = set(owners.values()), []
    for entry in entries:
        found = by_email.get(entry.email.casefold(), [])
        owner = owners.get(entry.clef_id)
        why = _obstacle(found, owner, there)
        if why:
            outcome.skipped.append(Skipped(entry.row, entry.email, why))
        elif owner is not None:
            outcome.known.append(owner)
        else:
            person_id = found[0].id if found else _add(connection, entry, now)
            (outcome.linked if found else outcome.made).append(person_id)
            new.append({"app_id": app_id, "person_id": person_id, "clef_id": entry.clef_id})
    if new:
        connection.execute(insert(clef_ids), new)
    return outcome


def _by_email(connection: Connection) -> dict[str, list[Person]]:
    """Return everybody who has an address, locked in the order of their ids, so that nobody gets an id meanwhile."""
    found: dict[str, list[Person]] = {}
    for person in people.all_people(connection, lock=True):
        if person.email:
            found.setdefault(person.email.casefold(), []).append(person)
    return found


def _obstacle(found: list[Person], owner: int | None, there: set[int]) -> str | None:
    if len(found) > 1:
        return f"{', '.join(f'#{person.id}' for person in found)} share this address"
    if owner is not None:
        is_same = bool(found) and found[0].id == owner
        return None if is_same else f"#{owner} has this clef_id already, with another address or none"
    if found and found[0].id in there:
        return f"#{found[0].id} has this address, and another clef_id already"
    return None


def _add(connection: Connection, entry: ImportEntry, now: int) -> int:
    first, last = entry.first_name, entry.last_name
    return people.add(connection, now=now, email=entry.email, first_name=first, last_name=last).id
