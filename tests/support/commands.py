"""Shared helpers of the ``clef-wsgi server ...`` tests: a server's database, and commands that run beside it."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

from clef_wsgi.cli import main
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.records import enrolments
from support.login_server import ORIGIN, FakeClock, Server, Site, make_server, write_private


@dataclass
class Said:
    """The output and exit code of a command."""

    code: int
    out: str = field(repr=False)
    err: str


class Desk:
    """A server's database, and the command line beside it. The server itself runs once somebody visits it."""

    def __init__(self, place: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self._capsys = capsys
        if "://" in place:
            _start_once(place)
        else:
            write_private(Path(place), _started())

    @cached_property
    def server(self) -> Server:
        return make_server(self.place, clock=FakeClock(system_clock()))

    def close(self) -> None:
        if "server" in vars(self):
            self.server.close()

    def type(self, *words: str) -> Said:
        """Run a command on this database."""
        return type_command(self._capsys, *words, "--database", self.place)

    def do(self, *words: str) -> str:
        """A command that has to succeed, and complains of nothing; returns what it printed."""
        said = self.type(*words)
        assert (said.code, said.err) == (0, "")
        return said.out

    def refuse(self, code: int, *words: str) -> str:
        """A command that has to fail, with one sentence and no traceback; returns the sentence."""
        said = self.type(*words)
        assert (said.code, said.out) == (code, "")
        assert re.fullmatch(r"clef-wsgi: [^\n]+\.\n", said.err)
        return said.err.removeprefix("clef-wsgi: ").rstrip("\n")

    def add_site(self, name: str = "Photos", *words: str) -> Site:
        """A site, added by command, as it knows itself."""
        printed = self.do("app", "add", name, "--site", "http://127.0.0.1:8000", "--allow-private", *words)
        return Site(shown(printed, "app id"), shown(printed, "secret"), "http://127.0.0.1:8000/clef/callback")

    def opens(self, printed: str) -> int:
        """Whom the link that was printed is for, by number."""
        link = re.search(rf"{ORIGIN}/enrol#([\w-]{{43}})\n", printed)
        assert link
        with self.server.database.reading() as connection:
            return enrolments.find(connection, link[1], now=system_clock()).person.id

    def everything(self) -> bytes:
        """All bytes of the database's files."""
        path = Path(self.place)
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def _start_once(place: str | Path) -> None:
    """Start a server and close it, to leave its database behind."""
    make_server(place).close()


@cache
def _started() -> bytes:
    """A SQLite database on which a server was started: made once, since that takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        _start_once(Path(folder, "clef.db"))
        return Path(folder, "clef.db").read_bytes()


def type_command(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run ``clef-wsgi server`` with these words."""
    capsys.readouterr()
    code = main(["server", *words])
    return Said(code, *capsys.readouterr())


def shown(printed: str, label: str) -> str:
    """The value that stands after a label."""
    found = re.search(rf"^  {label} +(\S+)$", printed, re.MULTILINE)
    assert found, label
    return found[1]


def authorizes(desk: Desk, site: Site, browser: Any, secret: str) -> bool:
    """Return True when a login at the site succeeds with this secret."""
    code = browser.approve(site.ask())["code"]
    form = {"app_id": site.app_id, "app_secret": secret, "code": code}
    return bool(browser.post("/api/v1/authorize", form).status_int == 200)
