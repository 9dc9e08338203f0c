"""Read a site's people from a CSV file: ``clef_id``, ``email``, and names if it has them."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from clef_wsgi.server import names
from clef_wsgi.server.commands import words
from clef_wsgi.server.errors import ConfigurationError
from clef_wsgi.server.records.clef_ids import MAX_ID
from clef_wsgi.server.records.imports import ImportEntry, Skipped

REQUIRED = ("clef_id", "email")
MAX_NAME = 64


def read_people(path: Path) -> tuple[list[ImportEntry], list[Skipped]]:
    """Return the rows that can be imported, and why each of the others can't.

    :raises ConfigurationError: the file is no CSV in UTF-8, or lacks a column.
    """
    found: list[ImportEntry] = []
    skipped: list[Skipped] = []
    for number, row in _rows(path):
        entry = _entry(number, row)
        (found if isinstance(entry, ImportEntry) else skipped).append(entry)  # type: ignore[arg-type]
    doubles = _doubles(found)
    skipped += [Skipped(entry.row, entry.email, doubles[entry.row]) for entry in found if entry.row in doubles]
    return [entry for entry in found if entry.row not in doubles], skipped


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row by the names of the columns, numbered as a spreadsheet does: the names are row 1."""
    try:
        # No field may hold either of the two; Python 3.10 refuses the whole file for the first.
        text = path.read_text(encoding="utf-8-sig").replace("\0", "\1")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not in UTF-8: export it as CSV UTF-8.") from None
    heading = text.partition("\n")[0]
    delimiter = ";" if ";" in heading and "," not in heading else ","
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ConfigurationError(f"{path} is no CSV file ({error}).") from None
    columns = [name.strip().lower() for name in records[0]] if records else []
    if missing := [name for name in REQUIRED if columns.count(name) != 1]:
        raise ConfigurationError(f"{path}: its first row has to name one column {' and one '.join(missing)}.")
    for number, cells in enumerate(records[1:], 2):
        if any(cell.strip() for cell in cells):
            yield number, {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}


def _entry(number: int, row: dict[str, str]) -> ImportEntry | Skipped:
    email, clef_id = row.get("email", ""), row.get("clef_id", "")
    first, last = _names(row)
    if not email:
        why = "it has no e-mail address"
    elif not words.is_email(email):
        why = "that is no e-mail address"
    elif not clef_id:
        why = "it has no clef_id"
    elif not (re.fullmatch("[0-9]{1,16}", clef_id) and 0 < int(clef_id) <= MAX_ID):
        why = f"its clef_id is no number from 1 to {MAX_ID}"
    elif any(name and not names.is_name(name, MAX_NAME) for name in (first, last)):
        why = f"a name has at most {MAX_NAME} characters, and none that can't be seen"
    else:
        return ImportEntry(number, int(clef_id), email, first, last)
    return Skipped(number, email, why)


def _names(row: dict[str, str]) -> tuple[str | None, str | None]:
    """Return first and last name, from two columns, or from one, whose first word is the first name."""
    if "first_name" in row or "last_name" in row:
        return names.tidied(row.get("first_name", "")) or None, names.tidied(row.get("last_name", "")) or None
    return names.split(names.tidied(row.get("name", "")))


def _doubles(entries: Iterable[ImportEntry]) -> dict[int, str]:
    """Map rows to why they are not read: it is ambiguous whose they are, or a row before is the same."""
    by_email, by_id = defaultdict(list), defaultdict(list)
    for entry in entries:
        by_email[entry.email.casefold()].append(entry)
        by_id[entry.clef_id].append(entry)
    found: dict[int, str] = {}
    for what, groups in (("this address", by_email), ("this clef_id", by_id)):
        for group in groups.values():
            is_same = len({(entry.email.casefold(), entry.clef_id) for entry in group}) == 1
            for entry in group[1:] if is_same else group:
                found[entry.row] = f"row {group[0].row} says the same" if is_same else _shared(group, what)
    return found


def _shared(group: list[ImportEntry], what: str) -> str:
    return f"rows {' and '.join(str(entry.row) for entry in group)} have {what}"
