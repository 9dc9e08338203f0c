"""The ids by which sites know people: imported ones of any size, as numbers or as text, in databases of any age."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from support.cases import each
from support.commands import Desk
from support.login_server import Server, Site, make_server, postgresql
from support.passkeys import enrolled

from clef_wsgi.server.database import schema
from clef_wsgi.server.records import apps, clef_ids, people
from clef_wsgi.server.records.people import Person

LARGEST = 2**53 - 1
FIXTURES = Path(__file__).parent / "fixtures"
PHOTOS = Site("1" * 32, "secret-of-photos-of-old")
"""The site's credentials in the fixtures' databases."""

ON_BOTH = pytest.mark.parametrize(
    "dialect", ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)], indirect=True
)


@pytest.fixture
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(dialect: str, tmp_path: Path) -> Iterator[str]:
    """Yield the URL or path of an empty database."""
    if dialect == "sqlite":
        yield str(tmp_path / "clef.db")
    else:
        with postgresql() as url:
            yield url


@pytest.fixture
def desk(place: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(place, capsys)) as desk:
        yield desk


def known_id(server: Server, site: Site, person: Person) -> Any:
    """Return the person's id from ``info``, which ``logout`` has to agree with."""
    browser = server.browser(signed_in=person)
    token = server.log_in(site, browser)
    found = browser.get(f"/api/v1/info?access_token={token}").json["info"]["id"]
    told = server.log_out(site, browser).json["clef_id"]
    assert (told, type(told)) == (found, type(found))
    return found


def person(server: Server, number: int) -> Person:
    with server.database.reading() as connection:
        return people.get(connection, number)


@ON_BOTH
@pytest.mark.parametrize("number", [1, 2**31, LARGEST])
def test_an_old_id_may_be_as_long_as_json_reads_it(desk: Desk, number: int) -> None:
    """2^53-1 comes back in ``info`` and ``logout`` as it was imported."""
    site = desk.add_site("Photos")
    desk.do("invite", "--name", "Ann", "--id", f"Photos={number}")
    assert known_id(desk.server, site, person(desk.server, 1)) == number


@each("number", ["0", str(LARGEST + 1), "9" * 16])
def test_a_number_that_no_site_can_read_is_refused(number: str, tmp_path: Path, capsys: Any) -> None:
    """One more than 2^53-1 is another number in JavaScript, and 0 is none."""
    (tmp_path / number).mkdir()
    with closing(Desk(str(tmp_path / number / "clef.db"), capsys)) as desk:
        desk.add_site("Photos")
        refused = desk.refuse(1, "invite", "--name", "Ann", "--id", f"Photos={number}")
        assert refused == f"An id at a site is a number from 1 to {LARGEST}."
        assert json.loads(desk.do("user", "list", "--json")) == []


@pytest.mark.slow
@ON_BOTH
def test_an_app_may_get_ids_as_text(desk: Desk) -> None:
    """``app set --ids text``: info and logout say text, to this app alone; ``--ids number`` takes it back."""
    photos, wiki = desk.add_site("Photos"), desk.add_site("Wiki", "--ids", "text")
    ann = desk.server.add_person("Ann")
    number = known_id(desk.server, photos, ann)
    assert type(number) is int
    text = known_id(desk.server, wiki, ann)
    assert type(text) is str
    assert text.isdecimal()
    desk.do("app", "set", "Photos", "--ids", "text")
    assert known_id(desk.server, photos, ann) == str(number)
    assert [app["ids"] for app in json.loads(desk.do("app", "list", "--json"))] == ["text", "text"]
    assert desk.do("app", "list").count("gets ids as text") == 2
    desk.do("app", "set", "Wiki", "--ids", "number")
    assert known_id(desk.server, wiki, ann) == int(text)
    lines = [line["details"] for line in json.loads(desk.do("audit", "--json")) if line["action"] == "app.set"]
    assert [line["ids"] for line in lines] == ["text", "number"]
    assert desk.type("app", "set", "Wiki", "--ids", "hex").code == 2


@ON_BOTH
def test_a_second_site_moves_in_later(desk: Desk) -> None:
    """``user set --id`` for somebody who has a passkey already; not over an id that the site knows, nor another's."""
    photos, wiki = desk.add_site("Photos"), desk.add_site("Wiki")
    ann, bo = desk.server.add_person("Ann", email="ann@example.com"), desk.server.add_person("Bo")
    enrolled(desk.server, ann)
    known = known_id(desk.server, photos, ann)
    desk.do("user", "set", "ann@example.com", "--id", "Wiki=1085577321")
    assert known_id(desk.server, wiki, ann) == 1085577321
    desk.do("user", "set", "ann@example.com", "--id", "Wiki=1085577321")  # it is so
    assert json.loads(desk.do("audit", "--json"))[-1]["details"] == {"changed": [], "ids": [wiki.app_id]}
    words = ("user", "set", str(ann.id), "--name", "Anna", "--id")
    assert desk.refuse(1, *words, "Photos=7") == "This person has another id at that site already."
    assert desk.refuse(1, "user", "set", str(bo.id), "--id", "Wiki=1085577321").endswith("belongs to somebody else.")
    assert desk.refuse(1, *words, "Elsewhere=7").startswith('There is no site "Elsewhere"')
    assert known_id(desk.server, photos, ann) == known
    assert person(desk.server, ann.id).first_name == "Ann"  # all of it, or nothing


def old_database(dialect: str, place: str) -> None:
    """Create a database of the first version, in which Ann is logged in, here and at Photos and Wiki."""
    file = FIXTURES / f"server-v1.{dialect}.sql"
    if dialect == "sqlite":
        with closing(sqlite3.connect(place)) as connection:
            connection.executescript(file.read_text(encoding="utf-8"))
    else:
        import psycopg

        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(file.read_bytes())


@ON_BOTH
def test_a_database_of_the_first_version_makes_room(dialect: str, place: str) -> None:
    """Its living logins live and keep their ids; then ids may be as long as any, and text."""
    old_database(dialect, place)
    server = make_server(place)
    browser = server.browser()
    browser.web.set_cookie("__Host-clef-session", "session-of-ann".ljust(43, "x"))
    token = "access-token-of-ann".ljust(43, "x")
    info = browser.get(f"/api/v1/info?access_token={token}").json["info"]
    assert (info["first_name"], type(info["id"])) == ("Ann", int)
    with server.database.writing() as connection:
        for app in apps.all_apps(connection):
            apps.change(connection, app.id, ids_as_text=True)
        clef_ids.import_id(connection, PHOTOS.app_id, people.add(connection, now=server.clock()).id, LARGEST)
    assert browser.get(f"/api/v1/info?access_token={token}").json["info"]["id"] == str(info["id"])
    new = max(row.id for row in server.rows(schema.people))
    assert known_id(server, PHOTOS, person(server, new)) == str(LARGEST)
    server.close()


@ON_BOTH
def test_an_old_database_becomes_as_a_new_one(dialect: str, place: str, tmp_path: Path) -> None:
    """Column by column: the type, and whether it may be empty."""
    old_database(dialect, place)
    old = make_server(place)
    with postgresql() if dialect == "postgresql" else nullcontext(str(tmp_path / "new.db")) as fresh:
        new = make_server(fresh, copied=False)
        assert columns(old) == columns(new)
        new.close()
    old.close()


def columns(server: Server) -> dict[str, dict[str, tuple[str, bool]]]:
    with server.database.reading() as connection:
        found = sqlalchemy.inspect(connection)
        return {
            table: {each["name"]: (str(each["type"]), each["nullable"]) for each in found.get_columns(table)}
            for table in found.get_table_names()
        }
