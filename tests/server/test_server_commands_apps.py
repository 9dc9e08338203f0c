"""``clef-wsgi server app ...``: what is printed, who may use a site, and which secret works."""

from __future__ import annotations

import configparser
import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.cases import each
from support.commands import Desk, authorizes, shown
from support.login_server import ORIGIN

import clef_wsgi
from clef_wsgi.server.database.schema import codes, deliveries


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        yield desk


def listed(desk: Desk) -> list[dict[str, Any]]:
    return list(json.loads(desk.do("app", "list", "--json")))


# -- add --------------------------------------------------------------------------------------------------


def test_add_then_sign_in(desk: Desk) -> None:
    """A site that was added can use what was printed, and the secret is in no other place."""
    printed = desk.do("app", "add", "Photos", "--site", "http://127.0.0.1:8000/", "--allow-private")
    secret = shown(printed, "secret")
    assert printed.count(secret) == 1
    desk.do("app", "list")
    assert secret not in desk.do("app", "list", "--json") + desk.do("app", "list") + desk.do("audit")
    assert secret.encode() not in desk.everything()
    (row,) = listed(desk)
    assert row["redirects"] == ["http://127.0.0.1:8000/clef/callback"]
    assert row["hooks"] == ["http://127.0.0.1:8000/clef/webhook"]
    assert (row["id"], row["name"], row["secrets"]) == (shown(printed, "app id"), "Photos", 1)


def block(printed: str, heading: str) -> str:
    """Return the indented block below a heading."""
    found = re.search(rf"(?m)^{heading}:\n\n((?:    .*\n|\n)+)", printed + "\n")
    assert found
    return textwrap.dedent(found[1])


def test_the_python_to_paste(desk: Desk, tmp_path: Path) -> None:
    """The Python that is printed runs, and makes a provider that knows the app's id and secret."""
    printed = desk.do("app", "add", "Photos", "--redirect", "https://photos.example.com/")
    (tmp_path / "secret").write_text(shown(printed, "secret") + "\n")
    namespace: dict[str, Any] = {}
    exec(block(printed, "Python").replace("/run/secrets/clef", str(tmp_path / "secret")), namespace)
    start = namespace["provider"].start_login("state", "https://photos.example.com/")
    assert isinstance(namespace["provider"], clef_wsgi.ClefProvider)
    assert start.url.startswith(f"{ORIGIN}/iframes/qr?")
    assert shown(printed, "app id") in start.url


def test_the_ini_to_paste(desk: Desk) -> None:
    """The INI that is printed can be read, and says the same."""
    printed = desk.do("app", "add", "Photos", "--redirect", "https://photos.example.com/")
    config = configparser.ConfigParser()
    config.read_string("[filter:clef]\n" + block(printed, "INI"))
    assert dict(config["filter:clef"]) == {
        "provider": "clef",
        "provider.server_url": ORIGIN,
        "provider.app_id": shown(printed, "app id"),
        "provider.app_secret_file": "/run/secrets/clef",
        "provider.signed_tokens": "true",
    }


def test_another_origin(desk: Desk) -> None:
    """The server's address can be given to ``app add`` when ``server run`` never ran."""
    words = ("app", "add", "Photos", "--redirect", "https://photos.example.com/", "--origin", "https://id.example.com")
    assert 'server_url="https://id.example.com"' in desk.do(*words)


@pytest.mark.parametrize(
    ("webhook", "sentence"),
    [
        ("http://localhost:8000/hook", "localhost is 127.0.0.1: add --allow-private."),
        ("http://192.168.1.5/hook", "192.168.1.5 is a private address: add --allow-private."),
        ("http://[::ffff:127.0.0.1]/hook", "::ffff:127.0.0.1 is 127.0.0.1: add --allow-private."),
        ("http://169.254.169.254/hook", "169.254.169.254 is a private address: add --allow-private."),
        ("http://100.64.0.1/hook", "100.64.0.1 is a private address: add --allow-private."),
        ("http://224.0.0.1/hook", "224.0.0.1 is a private address: add --allow-private."),
        ("http://[fd00::1]/hook", "fd00::1 is a private address: add --allow-private."),
        ("http://0x7f000001/hook", "0x7f000001 is 127.0.0.1: add --allow-private."),
    ],
)
def test_a_private_webhook(desk: Desk, webhook: str, sentence: str) -> None:
    """A webhook in a private network needs ``--allow-private``; without it nothing is added or changed."""
    said = desk.refuse(1, "app", "add", "Photos", "--redirect", "https://photos.example.com/", "--hook", webhook)
    assert said.replace("localhost is ::1", "localhost is 127.0.0.1") == sentence
    assert listed(desk) == []
    desk.do("app", "add", "Photos", "--redirect", "https://photos.example.com/")
    assert desk.refuse(1, "app", "set", "Photos", "--hook", webhook) == said
    desk.do("app", "set", "Photos", "--hook", webhook, "--allow-private")
    (row,) = listed(desk)
    assert (row["hooks"], row["allow_private"]) == ([webhook], True)


def test_a_webhook_without_an_address(desk: Desk) -> None:
    """A name that leads nowhere yet is worth a word, and no more: a site may come before its name does."""
    nowhere = f"{'a' * 64}.example.com"  # one letter too many: known to lead nowhere without asking
    words = ("--redirect", "https://photos.example.com/", "--hook", f"https://{nowhere}/hook")
    said = desk.type("app", "add", "Photos", *words)
    assert said.code == 0
    assert said.err.startswith(f"clef-wsgi: {nowhere} has no address right now")


def test_a_public_webhook(desk: Desk) -> None:
    """A public address needs no option."""
    desk.do("app", "add", "Photos", "--redirect", "https://photos.example.com/", "--hook", "https://8.8.8.8/hook")
    assert listed(desk)[0]["allow_private"] is False


@each(
    "words",
    [
        ["--redirect", "https://photos.example.com/#part"],
        ["--redirect", "https://ann@photos.example.com/"],
        ["--redirect", "https://photos.example.com/?code=1"],
        ["--redirect", "javascript:alert(1)"],
        ["--site", "photos.example.com"],
        ["--site", "https://photos.example.com/?a"],
        ["--site", "https://photos.example.com", "--hook", "ftp://photos.example.com/"],
    ],
    ids=" ".join,
)
def test_addresses_that_can_not_be_used(desk: Desk, words: list[str]) -> None:
    """An unusable address is wrong usage, and the error shows a valid example: exit code 2."""
    said = desk.type("app", "add", "Photos", *words)
    assert (said.code, said.out) == (2, "")
    assert "looks like https://www.example.com" in said.err


def test_an_old_id_and_secret(desk: Desk, tmp_path: Path) -> None:
    """A site of before keeps its id and its secret, which is not printed."""
    secret, app_id = "0123456789abcdef0123456789abcdef", "fedcba9876543210" * 2
    (tmp_path / "old").write_text(f"{secret}\n")
    words = ("--site", "http://127.0.0.1:8000", "--allow-private", "--app-id", app_id, "--secret-file")
    printed = desk.do("app", "add", "Photos", *words, str(tmp_path / "old"))
    assert secret not in printed
    assert shown(printed, "app id") == app_id
    site = desk.server.add_site("Wiki")
    site.app_id, site.callback = app_id, "http://127.0.0.1:8000/clef/callback"
    browser = desk.server.browser(signed_in=desk.server.add_person())
    assert authorizes(desk, site, browser, secret)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--app-id", "123"], 1),
        (["--secret-file", "short"], 2),
        (["--secret-file", "nowhere"], 1),
        (["--site", "https://192.0.2.1"], 1),
    ],
    ids=str,
)
def test_what_can_not_be_added(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    """An id of another form, a short or missing secret, a private site: one sentence, and no site."""
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("hunter2")
    assert "hunter2" not in desk.refuse(
        code, "app", "add", "Photos", "--redirect", "https://photos.example.com/", *words
    )
    assert listed(desk) == []


def test_one_name_one_site(desk: Desk) -> None:
    """A name is taken once; a site without an address makes no sense."""
    desk.add_site("Photos")
    taken = desk.refuse(1, "app", "add", "Photos", "--redirect", "https://photos.example.com/")
    assert 'A new secret: "clef-wsgi server app rotate-secret Photos"' in taken
    assert 'other addresses: "clef-wsgi server app set Photos"' in taken
    (site,) = listed(desk)
    taken = desk.refuse(1, "app", "add", "Wiki", "--redirect", "https://wiki.example.com/", "--app-id", site["id"])
    assert taken == "There is an app of that name or id already."
    assert desk.refuse(2, "app", "add", "Wiki").startswith("Where is the site?")


def test_a_host_without_an_address(desk: Desk) -> None:
    """It is said when the site is added, whatever network the webhook may be in; the site is added all the same."""
    for number, words in enumerate([(), ("--allow-private",)]):
        said = desk.type("app", "add", f"Photos {number}", "--site", "https://photos.invalid", *words)
        assert said.code == 0
        assert "photos.invalid has no address right now" in said.err
    assert len(listed(desk)) == 2


# -- list, set, remove ------------------------------------------------------------------------------------


def test_list(desk: Desk) -> None:
    """Each site is listed with its addresses, whom it is for, and what is unusual about it."""
    assert "no sites yet" in desk.do("app", "list")
    desk.add_site("Photos", "--members-only")
    desk.server.add_person()
    desk.do("app", "rotate-secret", "Photos")
    before = desk.do("app", "list")
    desk.do("app", "allow", "Photos", "1")
    assert "for       nobody yet" in before
    assert [line.split() for line in desk.do("app", "list").splitlines()][1:] == [
        ["for", "#1"],
        ["back", "to", "http://127.0.0.1:8000/clef/callback"],
        ["webhook", "http://127.0.0.1:8000/clef/webhook"],
        ["webhooks", "may", "be", "in", "a", "private", "network"],
        ["two", "secrets", "work:", "a", "rotation", "is", "under", "way"],
    ]


def test_set(desk: Desk) -> None:
    """Addresses come and go; the last one to go back to stays, and one that is not there can't go."""
    desk.add_site("Photos")
    old, new = "http://127.0.0.1:8000/clef/callback", "https://photos.example.com/cb"
    desk.do("app", "set", "Photos", "--redirect", new, "--drop", old)
    assert listed(desk)[0]["redirects"] == [new]
    assert desk.refuse(1, "app", "set", "Photos", "--drop", new).startswith("That is the last address")
    assert "has no address" in desk.refuse(1, "app", "set", "Photos", "--drop", old)
    assert listed(desk)[0]["redirects"] == [new]


def test_remove(desk: Desk) -> None:
    """A site is removed only where that is meant, by name or by id; its login page is then an error."""
    site = desk.add_site("Photos")
    desk.server.log_in(site, desk.server.browser(signed_in=desk.server.add_person()))
    assert "knows 1 people by numbers" in desk.refuse(2, "app", "remove", "Photos")
    desk.do("app", "remove", site.app_id, "--yes")
    assert listed(desk) == []
    assert desk.server.browser().get(f"/iframes/qr?{site.ask()}").status_int == 400
    assert desk.refuse(1, "app", "remove", "Photos", "--yes").startswith('There is no site "Photos"')


# -- rotate-secret ----------------------------------------------------------------------------------------


def test_rotate_secret(desk: Desk) -> None:
    """Two secrets work during a rotation, one before and after; a second one does not begin meanwhile."""
    site = desk.add_site("Photos")
    browser = desk.server.browser(signed_in=desk.server.add_person())
    printed = desk.do("app", "rotate-secret", "Photos")
    new = shown(printed, "secret")
    assert printed.count(new) == 1
    assert "\n    provider.app_secret_file = /run/secrets/clef\n" in printed
    assert new.encode() not in desk.everything()
    assert [authorizes(desk, site, browser, secret) for secret in (site.secret, new, "other")] == [True, True, False]
    assert "end that rotation" in desk.refuse(1, "app", "rotate-secret", "Photos")
    desk.do("app", "rotate-secret", "Photos", "--end")
    assert [authorizes(desk, site, browser, secret) for secret in (site.secret, new)] == [False, True]


# -- allow ------------------------------------------------------------------------------------------------


def test_allow(desk: Desk) -> None:
    """A site for members lets in whom it names, by number or e-mail, and nobody else."""
    site = desk.add_site("Photos", "--members-only")
    ann, bo, cy = (desk.server.add_person(name, email=f"{name}@example.com") for name in ("Ann", "Bo", "Cy"))
    desk.do("app", "allow", "Photos", "1", "BO@example.com")
    answers = [desk.server.browser(signed_in=person).get(f"/iframes/qr?{site.ask()}") for person in (ann, bo, cy)]
    assert [answer.status_int for answer in answers] == [200, 200, 403]
    desk.do("app", "allow", "Photos", "--everybody")
    assert desk.server.browser(signed_in=cy).get(f"/iframes/qr?{site.ask()}").status_int == 200


@pytest.mark.parametrize("words", [["1", "--take-back"], ["2", "--members-only"]], ids=" ".join)
def test_who_may_not_any_more_is_logged_out(desk: Desk, words: list[str]) -> None:
    """A person who loses a site is logged out there at once: it is notified, and no code or token works any more."""
    site = desk.add_site("Photos", *(["--members-only"] if "--take-back" in words else []))
    ann, bo = desk.server.add_person("Ann"), desk.server.add_person("Bo")
    desk.do("app", "allow", "Photos", "1", "2")
    if "--members-only" in words:
        desk.do("app", "allow", "Photos", "1", "--take-back")
    browsers = [desk.server.browser(signed_in=person) for person in (ann, bo)]
    tokens = [desk.server.log_in(site, browser) for browser in browsers]
    browsers[0].approve(site.ask())
    desk.do("app", "allow", "Photos", *words)
    answers = [browsers[0].get(f"/api/v1/info?access_token={token}").status_int for token in tokens]
    assert answers == [403, 200]
    assert [row.person_id for row in desk.server.rows(deliveries)] == [ann.id]
    assert desk.server.count(codes, codes.c.person_id == ann.id) == 0
    assert browsers[0].get(f"/iframes/qr?{site.ask()}").status_int == 403


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["--take-back", "--everybody"], 2),
        (["1", "3"], 1),
        (["nobody@example.com"], 1),
        (["shared@example.com"], 1),
    ],
    ids=str,
)
def test_allow_needs_people_that_exist(desk: Desk, words: list[str], code: int) -> None:
    """Nobody named, somebody unknown, an address of two people: one sentence, and nothing changes."""
    desk.add_site("Photos", "--members-only")
    for name in ("Ann", "Bo"):
        desk.server.add_person(name, email="shared@example.com")
    desk.refuse(code, "app", "allow", "Photos", *words)
    assert listed(desk)[0]["members"] == []
