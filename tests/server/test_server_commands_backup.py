"""``clef-wsgi server backup`` and ``restore``: a copy while the server runs, and no login that survives it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import Desk, type_command
from support.login_server import FakeClock, Server, Site, make_server

from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.database import settings
from clef_wsgi.server.database.schema import access_tokens, challenges, codes, deliveries, people
from clef_wsgi.server.errors import LinkInvalid


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        yield desk


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "clef.copy"


@pytest.fixture(autouse=True)
def _a_folder_for_copies(tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()


def test_backup(desk: Desk, copy: Path) -> None:
    """The copy is whole, for the owner's eyes alone, one file, and knows of itself; a file that is there stays."""
    desk.server.add_person("Ann")
    desk.do("backup", str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(copy.parent.iterdir()) == [copy]
    with closing(make_server(copy)) as twin:
        assert [row.first_name for row in twin.rows(people)] == ["Ann"]
    assert json.loads(desk.do("audit", "--json"))[-1]["action"] == "backup"
    assert desk.refuse(1, "backup", str(copy)) == f"{copy} is there already: name a new file."
    assert [entry["action"] for entry in json.loads(desk.do("audit", "--json"))].count("backup") == 1


def test_backup_while_people_sign_in(desk: Desk, copy: Path) -> None:
    """A backup waits for nobody for long, and what is written meanwhile is in it whole or not at all."""
    site, ann = desk.add_site("Photos"), desk.server.add_person("Ann")
    browser = desk.server.browser(signed_in=ann)
    ended = threading.Event()

    def sign_in() -> None:
        while not ended.is_set():
            desk.server.log_in(site, browser)

    thread = threading.Thread(target=sign_in)
    thread.start()
    try:
        desk.do("backup", str(copy))
    finally:
        ended.set()
        thread.join()
    with closing(make_server(copy)) as twin:
        assert twin.count(access_tokens) == twin.count(codes, codes.c.used_at.is_not(None))


@pytest.mark.slow
@pytest.mark.parametrize("is_read", [False, True])
def test_the_file_itself_holds_what_a_command_did(desk: Desk, copy: Path, is_read: bool) -> None:
    """While the server runs, clef.db alone is no backup; but what an administrator did stands in it at once, and a
    command waits for nobody who reads."""
    desk.server.add_person("Ann")
    with closing(sqlite3.connect(desk.place, isolation_level=None)) as reader:
        if is_read:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM people").fetchone()
        desk.add_site("Photos")
    copy.write_bytes(Path(desk.place).read_bytes())
    with closing(sqlite3.connect(copy)) as twin:
        names = [name for (name,) in twin.execute("SELECT name FROM apps")]
    assert names == ([] if is_read else ["Photos"])
    desk.do("app", "set", "Photos", "--redirect", "http://127.0.0.1:8000/other")
    copy.write_bytes(Path(desk.place).read_bytes())
    with closing(sqlite3.connect(copy)) as twin:
        assert twin.execute("SELECT count(*) FROM app_redirects").fetchone() == (2,)


@pytest.mark.parametrize("target", ["missing/clef.copy", "."])
def test_where_no_copy_can_be(desk: Desk, copy: Path, target: str) -> None:
    """A folder that is not there, or a name that is taken: one sentence."""
    desk.refuse(1, "backup", str(copy.parent / target))
    assert json.loads(desk.do("audit", "--json")) == []


def signed_in(server: Server, site: Site) -> str:
    """Ann, signed in at the site; her token there."""
    return server.log_in(site, server.browser(signed_in=server.add_person("Ann")))


def test_restore_ends_all_logins(desk: Desk, copy: Path) -> None:
    """A restore under a running server ends old logins and links, and notifies sites of everybody's logout.

    Who signed in after the backup is not known to it; at a site that knew them before, that ends too.
    """
    site = desk.add_site("Photos")
    ann, bo = desk.server.add_person("Ann"), desk.server.add_person("Bo")
    browsers = [desk.server.browser(signed_in=person) for person in (ann, bo)]
    tokens = [desk.server.log_in(site, browser) for browser in browsers]
    desk.do("user", "disable", "2")
    desk.do("user", "enable", "2")
    with desk.server.database.writing() as connection:
        connection.execute(deliveries.delete())
        asked = {
            "challenge": b"0" * 32,
            "purpose": "sign_in",
            "browser_hash": b"",
            "created_at": 0,
            "expires_at": 2**62,
        }
        connection.execute(challenges.insert().values(asked))
    link = desk.do("invite", "--name", "Cy")
    code = browsers[0].approve(site.ask())["code"]
    desk.do("backup", str(copy))
    desk.do("user", "remove", "1", "--yes")
    desk.do("restore", str(copy), "--yes")
    assert [row["first_name"] for row in json.loads(desk.do("user", "list", "--json"))] == ["Ann", "Bo", "Cy"]
    assert ["Ann" in browser.get("/").text for browser in browsers] == [False, False]
    assert [browsers[0].get(f"/api/v1/info?access_token={token}").status_int for token in tokens] == [403, 403]
    assert browsers[0].post("/api/v1/authorize", {**site.credentials, "code": code}).status_int == 403
    assert sorted(row.person_id for row in desk.server.rows(deliveries)) == [1, 2]
    assert desk.server.count(challenges) == 0
    with pytest.raises(LinkInvalid):
        desk.opens(link)
    assert json.loads(desk.do("audit", "--json"))[-1]["action"] == "restore"
    with desk.server.database.reading() as connection:
        assert settings.read(connection, "restored_at")


def test_what_was_there_is_kept(desk: Desk, copy: Path) -> None:
    """A restore keeps the database it replaces beside the new one, and leaves no other files."""
    desk.do("backup", str(copy))
    desk.server.add_person("Ann")
    for _ in range(2):
        desk.do("restore", str(copy), "--yes")
    folder = Path(desk.place).parent
    kept = sorted(path.name for path in folder.glob("clef.db.*") if not path.name.endswith(("-wal", "-shm")))
    assert kept == ["clef.db.before-restore.1", "clef.db.before-restore.2"]
    assert not list(folder.glob(".clef.db*"))
    with closing(make_server(folder / kept[0])) as before:
        assert [row.first_name for row in before.rows(people)] == ["Ann"]


def test_restore_where_nothing_is_left(
    desk: Desk, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new machine: the database is made from the backup, for the owner's eyes alone."""
    desk.server.add_person("Ann")
    desk.do("backup", str(copy))
    place = tmp_path / "new.db"
    assert type_command(capsys, "restore", str(copy), "--yes", "--database", str(place)).code == 0
    assert place.stat().st_mode & 0o777 == 0o600
    with closing(make_server(place, clock=FakeClock(system_clock()))) as server:
        assert [row.first_name for row in server.rows(people)] == ["Ann"]


def test_restore_without_a_file(desk: Desk) -> None:
    """``restore`` without a file ends all logins, for a database that was brought back by other means."""
    site = desk.add_site("Photos")
    token = signed_in(desk.server, site)
    desk.do("restore", "--yes")
    assert desk.server.browser().get(f"/api/v1/info?access_token={token}").status_int == 403
    assert desk.server.count(deliveries) == 1


def damaged(copy: Path) -> None:
    whole = copy.read_bytes()
    copy.write_bytes(whole[:40960] + b"\xff" * 4096 + whole[45056:])


def cut(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:8192])


def other_text(copy: Path) -> None:
    copy.write_text("A letter, and no database. " * 100)


def empty(copy: Path) -> None:
    copy.write_bytes(b"")


def other_tables(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE people (name)")


@pytest.mark.parametrize("harm", [damaged, cut, other_text, empty, other_tables, Path.unlink])
def test_what_is_no_backup(desk: Desk, copy: Path, harm: object) -> None:
    """A file that is no backup changes nothing: exit code 1."""
    desk.server.add_person("Ann")
    desk.do("backup", str(copy))
    assert callable(harm)
    harm(copy)
    was_there = copy.exists()
    said = desk.refuse(1, "restore", str(copy), "--yes")
    assert said.startswith(str(copy))
    assert copy.exists() == was_there
    assert [row.first_name for row in desk.server.rows(people)] == ["Ann"]


def test_the_backup_of_another_server(desk: Desk, copy: Path) -> None:
    """A backup whose passkeys are for another domain is refused."""
    make_server(copy, origin="https://login.example.org").close()
    assert desk.refuse(1, "restore", str(copy), "--yes") == "The backup is of a server with another --rp-id."


def test_a_damaged_database(tmp_path: Path, capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    """Over a database that can't be read any more, the sentence says what to do."""
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        desk.do("backup", str(copy))
    Path(desk.place).write_text("gone " * 4000)
    said = desk.refuse(1, "restore", str(copy), "--yes")
    assert said == f"{desk.place} can't be written: end the server, move the file away, and try again."


def test_restore_is_meant(desk: Desk, copy: Path) -> None:
    """Without ``--yes`` nothing happens: exit code 2."""
    desk.do("backup", str(copy))
    assert desk.refuse(2, "restore", str(copy)).endswith("add --yes.")
    assert json.loads(desk.do("audit", "--json"))[-1]["action"] == "backup"
