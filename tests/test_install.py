"""Installation of the package: README's lines for pip, the container file, compose.yaml and the systemd unit.

Each command is read out of its file and run in a new virtual environment with an empty HOME, as an ordinary user, in a
folder that holds nothing but the clone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from support import doc_runner
from support.doc_runner import BY_NAME, ROOT
from support.login_server import postgresql
from support.ports import await_listening, free_port
from support.services import require

CONTAINERFILE, COMPOSE = ROOT / "Containerfile", ROOT / "compose.yaml"
NOT_OF_THE_CLONE = {".git", ".venv", ".venvs", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache", "htmlcov"}


def instructions(name: str) -> list[str]:
    """The lines of an instruction of the container file."""
    text = CONTAINERFILE.read_text(encoding="utf-8")
    return re.findall(rf"(?m)^{name} (.*)$", text)


@dataclass
class Machine:
    """An ordinary user with an empty home and a clone; what a command prints, or how it failed."""

    folder: Path
    user: int

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    def command(self, *words: str) -> list[str]:
        drop = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] if os.getuid() == 0 else []
        return [*drop, *words]

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "http"))}
        path = f"{self.bin}{os.pathsep}/usr/local/bin:/usr/bin:/bin"
        return {**kept, "HOME": str(self.folder / "home"), "PATH": path, "TMPDIR": str(self.folder / "tmp"), **more}

    def run(self, *words: str, cwd: Path | None = None, **environ: str) -> str:
        done = subprocess.run(
            self.command(*words),
            cwd=cwd or self.clone,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, words: list[str], port: int, **environ: str) -> Iterator[None]:
        with subprocess.Popen(
            self.command(*words), cwd=self.folder / "data", env=self.environ(**environ), stdout=subprocess.DEVNULL
        ) as process:
            try:
                await_listening(port)
                yield
            finally:
                process.terminate()
        assert process.returncode == 0, "SIGTERM ends it cleanly"


def _an_interpreter() -> str | None:
    """One that another user may run."""
    found = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    return sys.executable if os.getuid() else found


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    python = _an_interpreter()
    require("an interpreter for all users", python is not None, "apt install python3-venv")
    assert python is not None
    with tempfile.TemporaryDirectory(prefix="clef-install-", dir="/tmp") as name:
        made = Machine(Path(name), os.getuid() or 10001)
        shutil.copytree(ROOT, made.clone, ignore=lambda folder, names: NOT_OF_THE_CLONE & {*names} | _built(names))
        for folder in ("home", "tmp", "data"):
            (made.folder / folder).mkdir(mode=0o700)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{made.user}:{made.user}", name], check=True)
        made.run(python, "-m", "venv", str(made.folder / "venv"))
        yield made


def _built(names: list[str]) -> set[str]:
    return {name for name in names if name.endswith((".egg-info", ".db"))}


def is_healthy(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return bool(json.load(answer)["status"] == "ok")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, over HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def _here(machine: Machine, line: str) -> str:
    """A line of the container file, with the container's folders and user where this machine has its own."""
    for theirs, ours in (("/src", machine.clone), ("/data", machine.folder / "data"), ("10001", machine.user)):
        line = re.sub(rf"(?<![\w/]){theirs}\b", str(ours), line)
    return line


@pytest.mark.services
class TestContainer:
    """The container file; nobody of us has built it."""

    def test_each_line_runs(self, machine: Machine) -> None:
        """RUN, CMD and HEALTHCHECK, one after the other: the server starts, is healthy, and ends on a signal."""
        for line in instructions("RUN"):
            machine.run("sh", "-ec", _here(machine, line))
        assert (machine.folder / "data").stat().st_mode & 0o777 == 0o700
        port, variables = free_port(), dict(line.split("=", 1) for line in instructions("ENV"))
        (command,) = (json.loads(line) for line in instructions("CMD"))
        (health,) = (line.partition("CMD ")[2] for line in instructions("HEALTHCHECK"))
        command = [word.replace("8400", str(port)) for word in command]
        check = [word.replace("8400", str(port)) for word in json.loads(health)]
        with machine.running(command, port, CLEF_ORIGIN="https://login.example.com", **variables):
            machine.run(*check)
            assert is_healthy(port)
        assert {path.name for path in (machine.folder / "data").iterdir()} >= {"clef.db"}
        with pytest.raises(AssertionError):
            machine.run(*check)

    def test_without_an_origin_it_does_not_start(self, machine: Machine) -> None:
        """The one variable that has no default."""
        (command,) = (json.loads(line) for line in instructions("CMD"))
        done = subprocess.run(
            machine.command(*command),
            env=machine.environ(CLEF_TRUSTED_PROXY="10.0.0.1"),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2
        assert b"origin" in done.stderr

    @pytest.mark.parametrize("words", [*doc_runner.commands(BY_NAME["readme_install"])], ids=" ".join)
    def test_readmes_lines_for_pip(self, machine: Machine, words: list[str]) -> None:
        """From the clone, from a git address, from a wheel: after each, ``clef-wsgi`` is there and runs."""
        venv = machine.folder / f"venv-{abs(hash(tuple(words)))}"
        python = _an_interpreter()
        assert python is not None
        machine.run(python, "-m", "venv", str(venv))
        what = words[2]
        if "git+" in what:
            git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
            for step in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "clone"]):
                machine.run(*git, *step)
            machine.run(*git, "update-server-info", cwd=machine.clone / ".git")
            with served(machine.clone / ".git") as address:
                what = re.sub(r"git\+https://\S+", f"git+{address}", what)
                machine.run(str(venv / "bin" / "pip"), "install", "--quiet", what)
        else:
            if what.startswith("dist/"):
                machine.run(str(venv / "bin" / "pip"), "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".")
            machine.run(str(venv / "bin" / "pip"), "install", "--quiet", what)
        assert "demo" in machine.run(str(venv / "bin" / "clef-wsgi"), "--help", cwd=machine.folder / "home")


def test_compose_fits_the_container_file_and_the_docs() -> None:
    """Variables, port, volume and user are the same in compose.yaml, in the container file and on the page."""
    (service,) = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values()
    assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]) == CONTAINERFILE
    (command,) = instructions("CMD")
    variables = set(service["environment"])
    assert variables == set(re.findall(r"\$(\w+)", command))
    page = ROOT / "docs" / "server.md"
    rows = next(rows for heading, rows in doc_runner.tables(page) if heading == "In a container")
    assert variables == {row[0].strip("`") for row in rows}
    (default,) = instructions("ENV")
    name, _, value = default.partition("=")
    assert service["environment"][name] == f"${{{name}:-{value}}}"
    assert f"`{value}`" in dict(rows)[f"`{name}`"]
    assert service["environment"]["CLEF_ORIGIN"].startswith("${CLEF_ORIGIN:?")
    (port,), (mount,) = service["ports"], service["volumes"]
    assert [port.rpartition(":")[2]] == instructions("EXPOSE")
    assert f"0.0.0.0:{port.rpartition(':')[2]}" in command
    assert [mount.partition(":")[2]] == instructions("VOLUME") == instructions("WORKDIR")
    assert [service["user"]] == instructions("USER")
    text = page.read_text(encoding="utf-8")
    for said in (f"127.0.0.1:{port.split(':')[1]}", f"volume `{mount.partition(':')[0]}`", f"user {service['user']}"):
        assert said in text
    assert "not built in a container by us" in text
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()


HARDENED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # MemoryDenyWriteExecute=, where the kernel has it (PR_SET_MDWE)
os.umask(0o077)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.services
def test_the_unit_runs_with_postgresql(machine: Machine) -> None:
    """The unit's command over PostgreSQL, as an ordinary user without new privileges or writable code."""
    machine.run("pip", "install", "--quiet", ".[server, postgresql]")
    words, port = doc_runner.parse(BY_NAME["systemd"])["Service"]["ExecStart"].split(), free_port()
    words = [str(machine.bin / "clef-wsgi"), *words[1:], "--listen", f"127.0.0.1:{port}"]
    with postgresql() as url:
        command = ["setpriv", "--no-new-privs", "--inh-caps=-all", str(machine.bin / "python"), "-c", HARDENED, *words]
        with machine.running(command, port, CLEF_SERVER_DATABASE=url):
            assert is_healthy(port)
        told = machine.run("clef-wsgi", "server", "app", "list", cwd=machine.folder / "data", CLEF_SERVER_DATABASE=url)
        assert "clef.db" not in told


# -- systemd ----------------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_unit_is_locked_down(tmp_path: Path) -> None:
    """``systemd-analyze security`` grades its exposure below 3 of 10."""
    require("systemd-analyze", shutil.which("systemd-analyze") is not None, "apt install systemd")
    unit = tmp_path / "clef.service"
    unit.write_text(BY_NAME["systemd"].text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) < 3


def test_the_unit_and_the_lines_that_make_its_user_agree() -> None:
    """The user, its home, the folder of the package and the name of the unit are those of the shell lines."""
    add, venv, pip, enable = doc_runner.commands(BY_NAME["systemd_user"])
    unit = doc_runner.parse(BY_NAME["systemd"])
    service = unit["Service"]
    assert add[-1] == service["User"]
    assert add[add.index("--home-dir") + 1] == service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    program = Path(service["ExecStart"].split()[0])
    assert program.is_relative_to(venv[-1])
    assert Path(pip[0]).parent == program.parent
    assert enable == ["systemctl", "enable", "--now", "clef"]
    assert {"network-online.target", "postgresql.service"} == {*unit["Unit"]["Wants"].split()}
    assert unit["Unit"]["Wants"] == unit["Unit"]["After"]
