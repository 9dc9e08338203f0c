"""``clef-wsgi server``: running it, wrong usage, exit codes, and what every command has in common."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from support import doc_runner
from support.cases import each
from support.commands import Desk, Said, type_command
from support.login_server import ORIGIN, make_server, postgresql

import clef_wsgi
from clef_wsgi.cli import main
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.database.migrations import open_database
from clef_wsgi.server.records import people, sessions

ROOT = Path(clef_wsgi.__file__).parents[1]
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        yield desk


# -- run --------------------------------------------------------------------------------------------------


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A real ``clef-wsgi server``; killed at the end if it still runs."""
    # A connection that waitress takes on while it ends is closed by the garbage collector.
    quiet = ["-W", "ignore:'cgi' is deprecated", "-W", "ignore:unclosed <socket:ResourceWarning"]
    command = [sys.executable, "-W", "error", *quiet, "-m", "clef_wsgi", "server", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRON}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def greeting(process: subprocess.Popen[str]) -> list[str]:
    """Return the two lines that the server prints before it listens."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(2)]


def taken_port() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.listen()
    return listener


def signed_in(place: str) -> str:
    """The token of somebody's session."""
    with closing(open_database(place)) as database, database.writing() as connection:
        ann = people.add(connection, now=system_clock(), first_name="Ann")
        return sessions.start(connection, person_id=ann.id, passkey_id=None, now=system_clock())


def log_out(url: str, token: str, *, forwarded_for: str) -> None:
    """Somebody who is signed in logs out everywhere, from behind a proxy."""
    with requests.Session() as browser:
        browser.trust_env = False
        browser.headers["X-Forwarded-For"] = forwarded_for
        browser.cookies.set(f"clef-session-{url.rpartition(':')[2]}", token)
        page = browser.get(f"{url}/", timeout=5)
        found = re.search('name="token" value="([^"]+)"', page.text)
        assert found
        answer = browser.post(f"{url}/log-out", {"token": found[1]}, headers={"Origin": url}, timeout=5)
        assert answer.status_code == 200
        assert "Server" not in answer.headers


@pytest.mark.process
def test_a_real_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``server run`` makes its database, listens at its origin's port, and ends at SIGTERM with exit code 0.

    The configured proxy is trusted, and the other commands know its address.
    """
    place = str(tmp_path / "clef.db")
    with taken_port() as listener:
        url = f"http://localhost:{listener.getsockname()[1]}"
    with started("run", "--origin", f"{url}/", "--trusted-proxy", "127.0.0.1", "--database", place) as process:
        hello, listens = greeting(process)
        assert hello.startswith(f"This is {url}. Nobody is invited yet")
        assert listens == f"Listening on 127.0.0.1:{url.rpartition(':')[2]}."
        log_out(url, signed_in(place), forwarded_for="203.0.113.9")
        process.send_signal(signal.SIGTERM)
        out, journal = process.communicate(timeout=10)
        assert (out, process.returncode) == ("", 0)
    lines = [line.partition(": ")[2] for line in journal.splitlines()]
    assert lines[0].startswith("The database is new, of version ")
    assert lines[1:] == [f"start: {url}; sites are told from here", "stop"]
    entry = json.loads(type_command(capsys, "audit", "--json", "--database", place).out)[-1]
    assert (entry["action"], entry["address"]) == ("logout", "203.0.113.9")
    assert f"{url}/enrol#" in type_command(capsys, "invite", "--name", "Bo", "--database", place).out


@contextmanager
def visitor(path: Path) -> Iterator[list[bytes]]:
    """While a server runs in this process: somebody asks at its socket, and then ends it by SIGTERM."""
    answers: list[bytes] = []

    def ask() -> None:
        for _ in range(500):
            with socket.socket(socket.AF_UNIX) as browser:
                if browser.connect_ex(str(path)) == 0:
                    browser.sendall(b"GET / HTTP/1.0\r\nHost: login.example.com\r\n\r\n")
                    answers.append(browser.recv(15))
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            threading.Event().wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    yield answers
    thread.join()


def test_a_socket_in_the_file_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--listen unix:...`` makes a socket that the group may use, and that a proxy can reach."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))  # left behind
    with visitor(path) as answers:
        said = run_here(capsys, tmp_path, "--origin", ORIGIN, "--listen", f"unix:{path}")
    assert (said.code, said.err, answers) == (0, "", [b"HTTP/1.0 200 OK"])
    assert said.out.splitlines()[1] == f"Listening on {path}."
    assert path.stat().st_mode & 0o777 == 0o660


def run_here(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> Said:
    """``server run`` that can't start, in this process."""
    return type_command(capsys, "run", *words, "--database", str(folder / "clef.db"))


def test_a_taken_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that can't be listened on is one sentence, and exit code 1."""
    with taken_port() as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        said = run_here(capsys, tmp_path, "--origin", ORIGIN, "--listen", place)
    assert (said.code, said.out) == (1, "")
    assert (
        said.err == f"clef-wsgi: {place} can't be listened on (Address already in use): name another with --listen.\n"
    )


def test_all_faults_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong settings are exit code 2, with a sentence for each."""
    words = ("--origin", "http://login.example.com", "--logo", "nowhere.svg", "--trusted-proxy", "everybody")
    said = run_here(capsys, tmp_path, *words)
    assert (said.code, said.out) == (2, "")
    assert re.findall("(?m)^clef-wsgi: (\\w+) must .+$", said.err) == ["origin", "logo", "trusted_proxy"]


def test_another_rp_id(desk: Desk) -> None:
    """A database whose passkeys were made for another domain is refused: exit code 2."""
    said = desk.refuse(2, "run", "--origin", "https://login.example.org")
    assert "Start with --origin https://login.example.com or a name under it, and --rp-id login.example.com" in said
    said = desk.refuse(2, "run", "--origin", "https://new.login.example.com")
    assert "Start with --rp-id login.example.com, or" in said
    with taken_port() as listener:  # what the sentence says is past that point
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        remedy = ("--rp-id", "login.example.com", "--listen", place)
        said = desk.type("run", "--origin", "https://new.login.example.com", *remedy).err
    assert "can't be listened on" in said


@pytest.mark.parametrize("place", ["8400", "127.0.0.1:65536", "127.0.0.1:x", "unix:", "::1:8400"])
def test_places_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    """The listen address is checked before anything starts: exit code 2."""
    said = run_here(capsys, tmp_path, "--origin", ORIGIN, "--listen", place)
    assert said.code == 2
    assert "looks like 127.0.0.1:8400 or unix:" in said.err
    assert list(tmp_path.iterdir()) == []


# -- what every command has in common ---------------------------------------------------------------------

COMMANDS = [
    "app add Photos --redirect https://photos.example.com/",
    "app list",
    "app set Photos --hook https://203.0.113.1/",
    "app allow Photos --everybody",
    "app rotate-secret Photos",
    "app remove Photos --yes",
    "invite --name Ann",
    "user list",
    "user set 1 --name Ann",
    "user disable 1",
    "user enable 1",
    "user recover 1",
    "user remove 1 --yes",
    "audit",
    "backup copy.db",
    "restore --yes",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_makes_a_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A mistyped database is not made, and not another one's work either: exit code 2."""
    monkeypatch.chdir(tmp_path)
    said = type_command(capsys, *words.split(), "--database", "mistyped.db")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("clef-wsgi: There is no server's database there yet")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no database, or where no server was started: exit code 2."""
    (tmp_path / "text").write_text("This is a letter, and no database at all. " * 50)
    (tmp_path / "empty").touch()
    for name, sentence in (("text", "no database"), ("empty", "no server's database")):
        said = type_command(capsys, "user", "list", "--database", str(tmp_path / name))
        assert (said.code, said.out) == (2, "")
        assert sentence in said.err


def test_where_the_database_is(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``--database`` it is what the environment says, or clef.db here."""
    monkeypatch.chdir(Path(desk.place).parent)
    assert type_command(capsys, "user", "list").code == 0
    monkeypatch.setenv("CLEF_SERVER_DATABASE", "elsewhere.db")
    assert type_command(capsys, "user", "list").code == 2


def test_a_database_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """A database that can't be reached is exit code 1, and what it said; the password stays out of it."""
    with taken_port() as listener:
        port = listener.getsockname()[1]
    said = type_command(capsys, "user", "list", "--database", f"postgresql://ann:hunter2@127.0.0.1:{port}/clef")
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"clef-wsgi: The database can't be asked right now\. It says: .*refused.*\n", said.err)
    assert "hunter2" not in said.err


@each("words", ["", "dance", "app", "user", "app add", "run", "user list --jso", "audit --limit 0"])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """Wrong usage is exit code 2, with what was wrong on stderr."""
    said = type_command(capsys, *words.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("usage: clef-wsgi server")


@pytest.mark.parametrize("words", ["--help", "app --help", "run --help", "invite --help", "user recover --help"])
def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """--help answers on stdout, exit code 0, and does not print where the database is: a password may stand there."""
    monkeypatch.setenv("CLEF_SERVER_DATABASE", "postgresql://ann:hunter2@127.0.0.1/clef")
    said = type_command(capsys, *words.split())
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("usage: clef-wsgi server")
    assert "hunter2" not in said.out


def test_the_command_knows_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    """``clef-wsgi --help`` names it."""
    assert main(["--help"]) == 0
    assert re.search("^    server  ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("name", ["flask", "prometheus_client", "segno", "sqlalchemy", "waitress", "webauthn"])
def test_a_missing_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the extra, the command says what to install: exit code 1."""
    monkeypatch.setitem(sys.modules, name, None)
    said = type_command(capsys, "user", "list")
    assert (said.code, said.out) == (1, "")
    assert said.err == f'clef-wsgi: The server needs {name}: pip install ".[server]" in its clone\n'


LATE = """
import sys
from clef_wsgi.cli import main
assert not any(name.startswith("clef_wsgi.server") for name in sys.modules)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.process
def test_output_that_nobody_reads(desk: Desk) -> None:
    """``... | head`` ends quietly; and the command loads nothing of the server before it is asked for."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-W", "ignore", "-c", LATE, "server", "app", "list", "--database", desk.place]
    with os.fdopen(writer) as nobody:
        done = subprocess.run(command, env=ENVIRON, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


# -- the audit --------------------------------------------------------------------------------------------


def test_audit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit says who did what to whom, when and from where, the newest last."""
    monkeypatch.setenv("SUDO_USER", "grace")
    desk.do("invite", "--name", "Ann")
    desk.do("user", "disable", "1")
    entries = json.loads(desk.do("audit", "--json"))
    assert [(entry["actor"], entry["action"], entry["subject"]) for entry in entries] == [
        ("admin:grace", "invite", "person:1"),
        ("admin:grace", "user.disable", "person:1"),
    ]
    assert all(entry["address"] and re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", entry["at"]) for entry in entries)
    heading, line = desk.do("audit", "--limit", "1").splitlines()
    assert heading.split() == ["WHEN", "WHO", "WHAT", "WHOM", "FROM", "DETAILS"]
    assert re.match(r"[\d-]{10} \d\d:\d\d UTC  admin:grace  user\.disable  person:1  \S", line)


def test_names_do_not_command_the_terminal(desk: Desk) -> None:
    """Control characters in people's names are not printed."""
    desk.server.add_person("Ann\x1b]0;owned\x07\u202e")
    printed = desk.do("user", "list") + desk.do("user", "disable", "1")
    assert "Ann" in printed
    assert not re.search("[\x1b\x07\u202e]", printed)


# -- the page ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), [("docs/server.md", 15), ("docs/migrating.md", 4)])
def test_the_page_can_be_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, page: str, least: int
) -> None:
    """A page, typed from top to bottom: every command succeeds after those above it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("clef_id,email,name\n1085577321,cy@example.com,Cy Cole\n7,dee@example.com,\n")
    (tmp_path / "old-secret").write_text("0123456789abcdef0123456789abcdef")
    typed = [
        words
        for block in doc_runner.BLOCKS
        if block.page == page and block.language == "sh"
        for words in doc_runner.commands(block)
        if words[:2] == ["clef-wsgi", "server"] and words[2] not in ("run", "deliver")
        if words[2:4] != ["app", "test"]  # no site of that name runs here
    ]
    assert len(typed) > least
    with closing(Desk("clef.db", capsys)) as desk:
        for words in typed:
            # its sites are nobody's: an address for them is no matter, and neither is there none
            said = desk.type(*words[2:], *(["--allow-private"] if words[3] == "add" else []))
            assert (said.code, re.sub("(?m)^.+ has no address right now: .+\n", "", said.err)) == (0, ""), words


# -- PostgreSQL -------------------------------------------------------------------------------------------


@pytest.mark.services
def test_a_day_on_postgresql(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every command does its work on PostgreSQL, too; copies are left to PostgreSQL's own programs."""
    with postgresql() as place, closing(Desk(place, capsys)) as desk:
        site = desk.add_site()
        desk.do("app", "set", "Photos", "--hook", "http://127.0.0.1:8000/other")
        desk.do("app", "rotate-secret", "Photos")
        assert desk.opens(desk.do("invite", "--email", "ann@example.com", "--id", "Photos=77")) == 1
        desk.do("user", "set", "1", "--name", "Ann Lee")
        desk.do("app", "allow", "Photos", "ann@example.com", "--members-only")
        assert desk.opens(desk.do("user", "recover", "1")) == 1
        (ann,) = json.loads(desk.do("user", "list", "--json"))
        assert (ann["last_name"], ann["ids"]) == ("Lee", {site.app_id: 77})
        assert "pg_dump" in desk.refuse(2, "backup", str(tmp_path / "copy"))
        assert "pg_restore" in desk.refuse(2, "restore", str(tmp_path / "copy"), "--yes")
        assert "every login has ended" in desk.do("restore", "--yes")
        for words in ("user disable 1", "user enable 1", "user remove 1 --yes", "app remove Photos --yes"):
            desk.do(*words.split())
        assert len(desk.do("audit").splitlines()) == 13
        make_server(place).close()
