"""``clef-wsgi server import``, and links for many: a site moves in with its people, in seconds, again and again."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.cases import each
from support.commands import Desk, Said
from support.login_server import ORIGIN
from support.passkeys import enrolled

from clef_wsgi.server.clock import DAY, HOUR, system_clock
from clef_wsgi.server.database import schema
from clef_wsgi.server.records import clef_ids, enrolments, people

LARGEST = 2**53 - 1


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        desk.add_site("Wiki")
        yield desk


@pytest.fixture
def either(where: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A desk on each database, with a site."""
    with closing(Desk(where, capsys)) as desk:
        desk.add_site("Wiki")
        yield desk


def written(folder: Path, text: str, encoding: str = "utf-8") -> str:
    file = folder / "people.csv"
    file.write_bytes(text.encode(encoding))
    return str(file)


def known(desk: Desk) -> list[tuple[Any, ...]]:
    """Everybody: name, address, numbers at sites."""
    rows = json.loads(desk.do("user", "list", "--json"))
    return [(row["first_name"], row["last_name"], row["email"], *row["ids"].values()) for row in rows]


def table(said: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(said)))


# --- import


def test_a_site_moves_in(either: Desk, tmp_path: Path) -> None:
    """Each person is made once, known to the site by the old number, without a link; the same again changes nothing."""
    file = written(
        tmp_path,
        "clef_id,email,first_name,last_name,karma\n"
        "1085577321,ann@example.com,Ann,Lee,7\n"
        f"{LARGEST},bo@example.com,Bo,,\n"
        '3,cy@example.com,,"Cole, ""the"" second",1\n',
    )
    first, everybody = either.do("import", file, "--app", "Wiki"), known(either)
    assert first == "Wiki: 3 people are new here, 0 were here already by their address, 0 were imported before.\n"
    assert everybody == [
        ("Ann", "Lee", "ann@example.com", 1085577321),
        ("Bo", None, "bo@example.com", LARGEST),
        (None, 'Cole, "the" second', "cy@example.com", 3),
    ]
    assert either.server.count(schema.enrolments) == 0
    again = either.do("import", file, "--app", "Wiki")
    assert again == "Wiki: 0 people are new here, 0 were here already by their address, 3 were imported before.\n"
    assert known(either) == everybody
    line = json.loads(either.do("audit", "--json"))[-1]
    assert (line["action"], line["details"]) == ("import", {"made": 0, "linked": 0, "known": 3, "skipped": 0})


def test_who_is_here_already_is_found_by_the_address(either: Desk, tmp_path: Path) -> None:
    """A second site's people who have a passkey by now: the address decides, in any case; names stay as they are."""
    ann = either.server.add_person("Anna", email="Ann@Example.com")
    enrolled(either.server, ann)
    said = either.do(
        "import", written(tmp_path, "email,clef_id,name\nann@example.COM,7,Ann Mary Lee\n"), "--app", "Wiki"
    )
    assert "0 people are new here, 1 were here already" in said
    assert known(either) == [("Anna", None, "Ann@Example.com", 7)]


SKIPPED = """clef_id,email,name
1,,Nobody
2,twice@example.com,A
3,TWICE@example.com,B
4,one@example.com,One
4,other@example.com,Other
,none@example.com,None
0,zero@example.com,Zero
9007199254740992,large@example.com,Large
1.0,float@example.com,Float
-5,minus@example.com,Minus
5,no address,No
6,long@example.com,{long}
7,blank@example.com,\u3164
8,nul@example.com,a\0b
10,taken@example.com,Taken
11,has@example.com,Has
12,shared@example.com,Shared
13,same@example.com,Same
13,Same@example.com,Same
14,good@example.com,Good
"""


def test_what_was_skipped_and_why(desk: Desk, tmp_path: Path) -> None:
    """A row that can't be is left out and said, and the others are taken in; a row that is there twice counts once."""
    server, (wiki,) = desk.server, desk.server.rows(schema.apps)
    owner, has = (
        server.add_person("Owner", email="owner@example.com"),
        server.add_person("Has", email="has@example.com"),
    )
    for _ in range(2):
        server.add_person("Shared", email="shared@example.com")
    with server.database.writing() as connection:
        clef_ids.import_id(connection, wiki.id, owner.id, 10)
        clef_ids.import_id(connection, wiki.id, has.id, 99)
    file = written(tmp_path, SKIPPED.format(long="x" * 65))
    said = desk.do("import", file, "--app", "Wiki")
    number = f"its clef_id is no number from 1 to {LARGEST}"
    name = "a name has at most 64 characters, and none that can't be seen"
    assert said.splitlines() == [
        "Wiki: 2 people are new here, 0 were here already by their address, 0 were imported before.",
        "18 rows were skipped:",
        "  row 2, no address: it has no e-mail address",
        "  row 3, twice@example.com: rows 3 and 4 have this address",
        "  row 4, TWICE@example.com: rows 3 and 4 have this address",
        "  row 5, one@example.com: rows 5 and 6 have this clef_id",
        "  row 6, other@example.com: rows 5 and 6 have this clef_id",
        "  row 7, none@example.com: it has no clef_id",
        *(
            f"  row {row}, {who}@example.com: {number}"
            for row, who in enumerate(("zero", "large", "float", "minus"), 8)
        ),
        "  row 12, no address: that is no e-mail address",
        *(f"  row {row}, {who}@example.com: {name}" for row, who in enumerate(("long", "blank", "nul"), 13)),
        "  row 16, taken@example.com: #1 has this clef_id already, with another address or none",
        "  row 17, has@example.com: #2 has this address, and another clef_id already",
        "  row 18, shared@example.com: #3, #4 share this address",
        "  row 20, Same@example.com: row 19 says the same",
    ]
    everybody = known(desk)
    assert [row[2:] for row in everybody[4:]] == [("same@example.com", 13), ("good@example.com", 14)]
    found = json.loads(desk.do("import", file, "--app", "Wiki", "--json"))
    assert (found["made"], found["linked"], len(found["known"]), len(found["skipped"])) == ([], [], 2, 18)
    assert found["skipped"][1] == {"row": 3, "email": "twice@example.com", "why": "rows 3 and 4 have this address"}
    assert known(desk) == everybody


@each(
    ("text", "encoding", "sentence"),
    [
        ("", "utf-8", "its first row has to name one column clef_id and one email."),
        ("clef_id,name\n1,Ann\n", "utf-8", "its first row has to name one column email."),
        ("clef_id,email,email\n1,a@b,c@d\n", "utf-8", "its first row has to name one column email."),
        ("1,ann@example.com\n", "utf-8", "its first row has to name one column clef_id and one email."),
        ("clef_id,email\n1,é@example.com\n", "latin-1", "is not in UTF-8: export it as CSV UTF-8."),
        ('clef_id,email\n1,"ann@example.com\n', "utf-8", "is no CSV file (unexpected end of data)."),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, capsys: Any, text: str, encoding: str, sentence: str) -> None:
    """One sentence, exit code 2, and nobody is taken in."""
    place = tmp_path / f"{abs(hash((text, encoding)))}.db"
    with closing(Desk(str(place), capsys)) as desk:
        desk.add_site("Wiki")
        assert desk.refuse(2, "import", written(tmp_path, text, encoding), "--app", "Wiki").endswith(sentence)
        assert known(desk) == []


def test_files_as_spreadsheets_write_them(desk: Desk, tmp_path: Path) -> None:
    """A byte order mark, semicolons, capitals in the names, CRLF, blank rows, spaces around."""
    text = "\ufeffClef_ID; Email ;NAME\r\n 7 ; ann@example.com ; Ann  Mary Lee \r\n;;\r\n\r\n8;bo@example.com;Bo\r\n"
    desk.do("import", written(tmp_path, text), "--app", "Wiki")
    assert known(desk) == [("Ann", "Mary Lee", "ann@example.com", 7), ("Bo", None, "bo@example.com", 8)]


def test_no_such_site_and_no_such_file(desk: Desk, tmp_path: Path) -> None:
    """Said in one sentence each."""
    file = written(tmp_path, "clef_id,email\n1,ann@example.com\n")
    assert desk.refuse(1, "import", file, "--app", "Blog").startswith('There is no site "Blog"')
    assert desk.refuse(1, "import", str(tmp_path / "none.csv"), "--app", "Wiki").endswith("No such file or directory.")


def crowd(number: int) -> str:
    rows = (f"{2**31 + n},person{n}@example.com,First{n},Last{n}" for n in range(number))
    return "\n".join(["clef_id,email,first_name,last_name", *rows, "1,,No,Address", ""])


@pytest.mark.process
def test_a_thousand_people_twice_with_a_crash_between(either: Desk, tmp_path: Path) -> None:
    """Killed in the middle, nobody is there; then all are, in seconds; then nothing changes. Links for all likewise."""
    file = written(tmp_path, crowd(1000))
    command = [sys.executable, "-m", "clef_wsgi", "server", "import", file, "--app", "Wiki", "--database", either.place]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_at_work(either, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert known(either) == []
    began = time.monotonic()
    said = either.do("import", file, "--app", "Wiki")
    seconds = time.monotonic() - began
    assert said.splitlines()[0].startswith("Wiki: 1000 people are new here, 0 were here already")
    assert said.splitlines()[2] == "  row 1002, no address: it has no e-mail address"
    everybody = known(either)
    assert len(everybody) == 1000
    began = time.monotonic()
    assert "1000 were imported before." in either.do("import", file, "--app", "Wiki")
    again = time.monotonic() - began
    assert known(either) == everybody
    began = time.monotonic()
    links = table(either.do("invite", "--all-without-passkey", "--csv", "--valid", "14d"))
    invited = time.monotonic() - began
    print(f"1,000 people: {seconds:.2f} s, again {again:.2f} s, their links {invited:.2f} s")
    assert len({link["link"] for link in links}) == 1000
    assert max(seconds, again, invited) < 20  # it takes one or two; a shell loop takes minutes


def until_at_work(desk: Desk, process: subprocess.Popen[bytes]) -> None:
    """Until the command has written, and not yet committed."""
    until, seen = time.monotonic() + 30, 0
    while time.monotonic() < until and process.poll() is None:
        seen = seen + 1 if is_writing(desk.place) else 0
        if seen == 5:  # longer than it takes to look whether the tables are of today
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"it ended before it could be killed: {process.poll()}")


def is_writing(place: str) -> bool:
    if "://" not in place:
        with closing(sqlite3.connect(place, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            other.execute("ROLLBACK")
            return False
    import psycopg

    with psycopg.connect(place, autocommit=True) as other_session:
        query = "SELECT count(*) FROM pg_locks WHERE relation = 'people'::regclass AND mode = 'RowExclusiveLock'"
        (found,) = other_session.execute(query).fetchone() or (0,)
        return bool(found)


# --- links


def opens(desk: Desk, link: str) -> int:
    with desk.server.database.reading() as connection:
        return enrolments.find(connection, link.partition("#")[2], now=system_clock()).person.id


def test_a_link_as_json(desk: Desk) -> None:
    """Whom it is for, the link, and until when; nothing else is printed."""
    found = json.loads(desk.do("invite", "--name", "Ann Lee", "--email", "ann@example.com", "--json", "--valid", "14d"))
    link, until = found.pop("link"), found.pop("expires_at")
    assert found == {"person": 1, "first_name": "Ann", "last_name": "Lee", "email": "ann@example.com"}
    assert link.startswith(f"{ORIGIN}/enrol#")
    assert opens(desk, link) == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", until)
    desk.server.clock.now = system_clock()
    (row,) = desk.server.rows(schema.enrolments)
    assert row.expires_at - row.created_at == 14 * DAY
    recovered = json.loads(desk.do("user", "recover", "1", "--json", "--valid", "2h"))
    assert opens(desk, recovered["link"]) == 1
    assert desk.server.rows(schema.enrolments)[-1].expires_at - row.created_at < 3 * HOUR


@each(
    ("word", "shown"),
    [("1d", "one day"), ("14d", "14 days"), ("1h", "one hour"), ("36h", "36 hours"), ("48h", "2 days")],
)
def test_how_long_a_link_works_is_said(tmp_path: Path, capsys: Any, word: str, shown: str) -> None:
    """With the link; a day if nobody says."""
    with closing(Desk(str(tmp_path / f"{word}.db"), capsys)) as desk:
        assert f"for {shown} and one passkey:" in desk.do("invite", "--name", "Ann", "--valid", word)
        assert "for one day and one passkey:" in desk.do("invite", "--name", "Bo")


@pytest.mark.parametrize("word", ["0d", "91d", "14", "d", "-1d", "1.5d", "14 d", "9999d", ""])
def test_a_time_that_is_none(desk: Desk, word: str) -> None:
    """Wrong usage: one sentence of what is right."""
    said = desk.type("invite", "--name", "Ann", f"--valid={word}")
    assert (said.code, said.out) == (2, "")
    assert "36h or 14d, 90d at most" in said.err
    assert known(desk) == []


def test_links_for_all_who_have_no_passkey(desk: Desk) -> None:
    """Links as CSV or JSON, for active people without a passkey; each new link voids the older one."""
    server = desk.server
    ann, bo = server.add_person("Ann", email="ann@example.com"), server.add_person("=1+1", last_name="@SUM(1)")
    enrolled(server, server.add_person("Cy", email="cy@example.com"))
    for name, how in (("Dee", ("user", "disable")), ("Eve", ("user", "remove", "--yes"))):
        desk.do(*how[:2], str(server.add_person(name).id), *how[2:])
    found = table(desk.do("invite", "--all-without-passkey", "--csv"))
    assert [(row["person"], row["first_name"], row["last_name"], row["email"]) for row in found] == [
        (str(ann.id), "Ann", "", "ann@example.com"),
        (str(bo.id), "'=1+1", "'@SUM(1)", ""),  # no spreadsheet runs it
    ]
    assert [opens(desk, row["link"]) for row in found] == [ann.id, bo.id]
    again = json.loads(desk.do("invite", "--all-without-passkey", "--json"))
    assert [row["first_name"] for row in again] == ["Ann", "=1+1"]
    assert [opens(desk, row["link"]) for row in again] == [ann.id, bo.id]
    assert server.count(schema.enrolments, schema.enrolments.c.voided_at.is_not(None)) == 2
    lines = [line for line in json.loads(desk.do("audit", "--json")) if line["action"] == "invite"]
    assert [line["details"] for line in lines] == [{"people": [ann.id, bo.id]}] * 2


@each(
    ("words", "sentence"),
    [
        (["--all-without-passkey"], "say --csv or --json"),
        (["--all-without-passkey", "--csv", "--name", "Ann"], "name nobody beside it"),
        (["--all-without-passkey", "--csv", "1"], "name nobody beside it"),
        (["--all-without-passkey", "--json", "--id", "Wiki=7"], "name nobody beside it"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, capsys: Any, words: list[str], sentence: str) -> None:
    """Said before any link is made."""
    with closing(Desk(str(tmp_path / f"{len(words)}{words[-1]}.db"), capsys)) as desk:
        desk.server.add_person("Ann")
        assert sentence in desk.refuse(2, "invite", *words)
        assert desk.server.count(schema.enrolments) == 0


def test_an_import_makes_links_when_asked(desk: Desk, tmp_path: Path) -> None:
    """``--invite``: CSV of those of the file who have no passkey, and the report where no program reads it."""
    ann = desk.server.add_person("Ann", email="ann@example.com")
    enrolled(desk.server, ann)
    desk.server.add_person("Elsewhere", email="else@example.com")
    file = written(tmp_path, "clef_id,email\n1,ann@example.com\n2,bo@example.com\n3,\n")
    said: Said = desk.type("import", file, "--app", "Wiki", "--invite", "--valid", "14d")
    assert said.code == 0
    (row,) = table(said.out)
    assert row["email"] == "bo@example.com"
    with desk.server.database.reading() as connection:
        assert people.get(connection, opens(desk, row["link"])).email == "bo@example.com"
    assert "1 people are new here, 1 were here already" in said.err
    assert "row 4, no address" in said.err
    found = json.loads(desk.do("import", file, "--app", "Wiki", "--invite", "--json"))
    assert [link["email"] for link in found["links"]] == ["bo@example.com"]
