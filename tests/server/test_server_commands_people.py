"""``clef-wsgi server invite`` and ``user ...``: links that work once, and doors that close at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from support.cases import each
from support.commands import Desk
from support.login_server import ORIGIN, Browser, Site

from clef_wsgi.server.database.schema import challenges, deliveries, enrolments, passkeys
from clef_wsgi.server.records import people
from clef_wsgi.server.records.people import Person


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        yield desk


def listed(desk: Desk) -> list[dict[str, Any]]:
    return list(json.loads(desk.do("user", "list", "--json")))


def give_passkey(desk: Desk, person_id: int, **values: Any) -> None:
    """A passkey in the database, as a ceremony leaves it."""
    row = {
        "person_id": person_id,
        "credential_id": f"key of {person_id}".encode(),
        "public_key": b"key",
        "sign_count": 0,
        "backup_eligible": False,
        "backed_up": False,
        "transports": "[]",
        "aaguid": "0" * 36,
        "name": "Phone",
        "created_at": desk.server.clock(),
        **values,
    }
    with desk.server.database.writing() as connection:
        connection.execute(insert(passkeys).values(row))


# -- invite -----------------------------------------------------------------------------------------------


def test_invite(desk: Desk) -> None:
    """A link for somebody new, once as text and once as QR code, and in no other place."""
    printed = desk.do("invite", "--name", "Ann Mary Lee", "--email", "ann@example.com", "--phone", "+49 30 1234567")
    assert desk.opens(printed) == 1
    link = printed.partition(f"{ORIGIN}/enrol#")[2][:43]
    assert printed.count(link) == 1
    assert link.encode() not in desk.everything()
    assert link not in desk.do("audit") + desk.do("audit", "--json") + desk.do("user", "list", "--json")
    assert "█▀" in printed
    (ann,) = listed(desk)
    known = ("first_name", "last_name", "email", "phone_number", "state", "ids")
    assert [ann[key] for key in known] == ["Ann", "Mary Lee", "ann@example.com", "+49 30 1234567", "invited", {}]


def test_the_qr_code_is_the_link(desk: Desk) -> None:
    """The QR code is drawn whole: square, with a margin, in half lines; without it, the link alone."""
    drawn = desk.do("invite", "--name", "Ann").split("\n\n")[2].splitlines()
    side = len(drawn[0])
    assert {len(line) for line in drawn} == {side}
    assert len(drawn) == (side + 1) // 2
    assert set("".join(drawn)) <= set("█▀▄ ")
    assert desk.do("invite", "1", "--no-qr").splitlines()[-1].strip() == ""


def test_a_newer_link_voids_the_older(desk: Desk) -> None:
    """Somebody who did not use their link gets another, and the older one does not work any more."""
    first = desk.do("invite", "--email", "ann@example.com")
    second = desk.do("invite", "ANN@example.com")
    assert desk.opens(second) == 1
    assert len(listed(desk)) == 1
    assert desk.server.count(enrolments, enrolments.c.voided_at.is_not(None)) == 1
    assert first.partition("#1")[0] == second.partition("#1")[0]


def test_an_old_id(desk: Desk) -> None:
    """``--id`` gives a person the number by which a site knows them: ``info`` says it, and nobody else gets it."""
    site = desk.add_site("Photos")
    desk.do("invite", "--name", "Ann", "--id", "Photos=1085577321")
    (row,) = listed(desk)
    assert row["ids"] == {site.app_id: 1085577321}
    browser = desk.server.browser(signed_in=person(desk, 1))
    token = desk.server.log_in(site, browser)
    assert browser.get(f"/api/v1/info?access_token={token}").json["info"]["id"] == 1085577321
    refused = desk.refuse(1, "invite", "--name", "Bo", "--id", f"{site.app_id}=1085577321")
    assert refused == "That id at that site belongs to somebody else."
    assert len(listed(desk)) == 1


def person(desk: Desk, number: int) -> Person:
    with desk.server.database.reading() as connection:
        return people.get(connection, number)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 2, "Who is invited?"),
        (["--phone", "12345"], 2, "Who is invited?"),
        (["--email", "BO@example.com"], 1, "#1 has that e-mail address."),
        (["1"], 1, "They have a passkey. If it is lost:"),
        (["2"], 1, "They are disabled:"),
        (["3"], 1, 'There is nobody called "3"'),
        (["1", "--name", "Bob"], 2, "What is known of somebody is changed by"),
        (["--name", "Cy", "--id", "Photos=1"], 1, 'There is no site "Photos"'),
    ],
    ids=str,
)
def test_who_can_not_be_invited(desk: Desk, words: list[str], code: int, sentence: str) -> None:
    """One sentence for each, and nobody is added."""
    desk.server.add_person("Bo", email="bo@example.com")
    desk.server.add_person("Di")
    give_passkey(desk, 1)
    desk.do("user", "disable", "2")
    assert desk.refuse(code, "invite", *words).startswith(sentence)
    assert len(listed(desk)) == 2
    assert desk.server.count(enrolments) == 0


@each(
    "words",
    [
        ["--email", "ann"],
        ["--email", "ann@ok@evil"],
        ["--email", "ann @example.com"],
        ["--email", "ann@exam\u202eple.com"],
        ["--name", "An\x1bn"],
        ["--name", " "],
        ["--name", "n" * 101],
        ["--phone", "+49 <script>"],
        ["--name", "Ann", "--id", "Photos"],
        ["--name", "Ann", "--id", "=5"],
        ["--name", "Ann", "--id", "Photos=-5"],
    ],
    ids=ascii,
)
def test_what_is_known_has_a_form(desk: Desk, words: list[str]) -> None:
    """An address, a name, a number or an old id that can't be one is wrong usage: exit code 2."""
    said = desk.type("invite", *words)
    assert (said.code, said.out) == (2, "")
    assert listed(desk) == []


# -- user -------------------------------------------------------------------------------------------------


def test_list(desk: Desk) -> None:
    """Everybody is listed with what they can do, and a count that went back is said."""
    assert desk.do("user", "list").startswith("Nobody is invited yet")
    for name in ("Ann", "Bo", "Cy"):
        desk.server.add_person(name)
    desk.server.browser(signed_in=person(desk, 1))
    give_passkey(desk, 1)
    give_passkey(desk, 2, count_fell_at=desk.server.clock(), name="Key\x07")
    desk.do("user", "disable", "3")
    assert [row["state"] for row in listed(desk)] == ["active", "active", "disabled"]
    assert [bool(row["last_signed_in_at"]) for row in listed(desk)] == [True, False, False]
    assert [key["name"] for row in listed(desk) for key in row["passkeys"]] == ["Phone", "Key\x07"]
    heading, ann, bo, cy, _, fell = desk.do("user", "list").splitlines()
    assert heading.split()[:4] == ["#", "NAME", "E-MAIL", "PHONE"]
    assert ann.split()[:6] == ["1", "Ann", "-", "-", "active", "1"]
    assert bo.split()[-3:] == ["active", "1", "-"]
    assert cy.split()[-3:] == ["disabled", "0", "-"]
    assert fell.startswith('#2: the count of the passkey "Key\N{REPLACEMENT CHARACTER}" went back on 20')


def test_set(desk: Desk) -> None:
    """A person's data can be changed or cleared; sites get it at the next login. E-mail addresses are unique."""
    desk.do("invite", "--name", "Ann Lee", "--email", "ann@example.com", "--phone", "12345")
    desk.do("invite", "--email", "bo@example.com")
    desk.do("user", "set", "ann@example.com", "--name", "Anna", "--email", "anna@example.com", "--phone", "")
    ann = listed(desk)[0]
    assert [ann[key] for key in ("first_name", "last_name", "email", "phone_number")] == [
        *("Anna", None, "anna@example.com", None)
    ]
    assert desk.refuse(1, "user", "set", "2", "--email", "Anna@example.com").startswith("#1 has that e-mail address")
    assert desk.refuse(2, "user", "set", "2").startswith("What changes?")
    desk.do("user", "set", "1", "--email", "ANNA@example.com")
    desk.do("user", "set", "2", "--email", "")
    assert listed(desk)[1]["email"] is None


def logged_in(desk: Desk) -> tuple[Site, Browser, str]:
    """Ann, signed in at the server and at a site; with a passkey, and a challenge under way."""
    site, ann = desk.add_site("Photos"), desk.server.add_person("Ann", email="ann@example.com")
    give_passkey(desk, ann.id)
    browser = desk.server.browser(signed_in=ann)
    return site, browser, desk.server.log_in(site, browser)


@pytest.mark.parametrize(
    "words", ["user disable 1", "user recover 1", "user remove 1 --yes", "user disable ann@example.com"]
)
def test_doors_close_at_once(desk: Desk, words: str) -> None:
    """Disabled, recovered or removed: logged out here, no code or token works, and the site is notified."""
    site, browser, token = logged_in(desk)
    code = browser.approve(site.ask())["code"]
    desk.do(*words.split())
    assert "Ann" not in browser.get("/").text
    assert browser.get(f"/api/v1/info?access_token={token}").status_int == 403
    assert browser.post("/api/v1/authorize", {**site.credentials, "code": code}).status_int == 403
    assert [row.app_id for row in desk.server.rows(deliveries)] == [site.app_id]


def test_disable_and_enable(desk: Desk) -> None:
    """Somebody disabled keeps their passkeys, for when they are enabled again; a link for them would not work."""
    logged_in(desk)
    desk.do("user", "disable", "1")
    assert listed(desk)[0]["state"] == "disabled"
    assert desk.refuse(1, "user", "recover", "1").startswith("They are disabled:")
    desk.do("user", "enable", "1")
    assert (listed(desk)[0]["state"], desk.server.count(passkeys)) == ("active", 1)


def test_recover(desk: Desk) -> None:
    """A recovery removes all passkeys and open links, and prints one link that works."""
    logged_in(desk)
    older = desk.do("invite", "--name", "Bo")
    printed = desk.do("user", "recover", "1")
    assert 'The sites are being told:\nsee "clef-wsgi server deliveries list".' in printed
    assert desk.opens(printed) == 1
    assert desk.server.count(passkeys) == 0
    assert [row.purpose for row in desk.server.rows(enrolments, enrolments.c.person_id == 1)] == ["recover"]
    assert desk.opens(older) == 2
    assert desk.server.count(challenges) == 0


def test_remove(desk: Desk) -> None:
    """Somebody is removed only where that is meant; their address is free again, their number at a site never."""
    site, *_ = logged_in(desk)
    number = listed(desk)[0]["ids"][site.app_id]
    assert desk.refuse(2, "user", "remove", "1").startswith("A person who is removed can't be brought back")
    desk.do("user", "remove", "1", "--yes")
    assert listed(desk) == []
    desk.do("invite", "--email", "ann@example.com")
    assert desk.refuse(1, "invite", "--name", "Bo", "--id", f"Photos={number}") == (
        "That id at that site belongs to somebody else."
    )
    assert desk.refuse(1, "user", "enable", "1").startswith('There is nobody called "1"')
