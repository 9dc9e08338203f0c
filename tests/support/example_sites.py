"""The example sites as tests visit them: in this process, or served by waitress or gunicorn in one of their own.

Each site is there twice, at ``http://localhost`` and mounted at ``http://localhost/club``, over one folder of data.
Run as a program, this file serves a site with waitress.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlsplit

import webtest

import clef_wsgi
from clef_wsgi import Identity
from clef_wsgi.base.errors import StoreUnavailable
from clef_wsgi.demo.processes import find_example
from support import app
from support.app import SAME_ORIGIN, SECRET, state_of
from support.ports import await_listening, free_port
from support.programs import python_path

SITE = "http://localhost"
MOUNT = "/club"
ANN, BO = "1:Ann", "2:Bo"
PATIENCE_SECONDS = 20.0

Environ = dict[str, Any]
WSGIApp = Callable[..., Iterable[bytes]]

_serial = itertools.count(1)


# -- sites ------------------------------------------------------------------------------------------------


def load(name: str) -> ModuleType:
    """The module of an example, from where the demo takes its own."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, find_example().with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        # Django imports its middleware by the module's name.
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


class Provider(app.FakeProvider):
    """A login's code is ``id:name``, in whatever process it ends."""

    server_url = app.PROVIDER_URL

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        user_id, _, name = query["code"].partition(":")
        return Identity({"id": user_id, "first_name": name})


def make_site(name: str, data: Path) -> WSGIApp:
    """The example ``name`` at both of its addresses, with its files in ``data``."""
    return mounted(make_example(name, data, SITE), make_example(name, data, SITE + MOUNT))


def make_example(name: str, data: Path, base_url: str) -> Any:
    database = str(data / "members.db")
    accounts = {"database_url": f"sqlite:///{database}"} if name == "flask_app" else {"database": database}
    return load(name).create_app(
        provider=Provider(),
        logout_store=SwitchableStore(data / "logouts.db", off=data / "off"),
        base_url=base_url,
        session={"secret": SECRET, "type": "file", "data_dir": str(data / "sessions")},
        **accounts,
    )


def mounted(at_root: WSGIApp, at_mount: WSGIApp) -> WSGIApp:
    """Two apps behind one address (PEP 3333, SCRIPT_NAME)."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path != MOUNT and not path.startswith(MOUNT + "/"):
            return at_root(environ, start_response)
        environ.update(SCRIPT_NAME=MOUNT, PATH_INFO=path.removeprefix(MOUNT))
        return at_mount(environ, start_response)

    return app


class SwitchableStore:
    """A logout store that can't be asked while the file ``off`` is there."""

    def __init__(self, path: Path, *, off: Path) -> None:
        self._real = clef_wsgi.SQLiteLogoutStore(path)
        self._off = off

    @property
    def _store(self) -> clef_wsgi.SQLiteLogoutStore:
        if self._off.exists():
            raise StoreUnavailable
        return self._real

    def tick(self) -> int:
        return self._store.tick()

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        return self._store.record_logout(keys, idempotency_key=idempotency_key)

    def newest_logout(self, keys: Iterable[str]) -> int:
        return self._store.newest_logout(keys)

    def prune(self, older_than: float) -> int:
        return self._store.prune(older_than)


# -- servers ----------------------------------------------------------------------------------------------


@contextmanager
def served(name: str, data: Path, server: str) -> Iterator[WSGIApp]:
    """A site in a process of its own, under ``waitress`` or two workers of ``gunicorn``; an app that speaks to it.

    The test listens, so that no port is guessed, and a request waits until the process takes it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, started(listener.fileno(), name, data, server):
        yield over_http(listener.getsockname()[1])


@contextmanager
def started(descriptor: int, name: str, data: Path, server: str) -> Iterator[subprocess.Popen[bytes]]:
    gunicorn = ["-m", "gunicorn", "--bind", f"fd://{descriptor}", "--workers=2", "--preload", "--log-level=critical"]
    app = "support.example_sites:site_from_environ()"
    command = [*gunicorn, app] if server == "gunicorn" else [__file__, str(descriptor)]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command],
        pass_fds=[descriptor],
        stdin=subprocess.PIPE,
        env={**os.environ, "EXAMPLE": name, "DATA_DIR": str(data), "PYTHONPATH": python_path()},
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def site_from_environ() -> WSGIApp:
    return make_site(os.environ["EXAMPLE"], Path(os.environ["DATA_DIR"]))


def over_http(port: int) -> WSGIApp:
    """An app that hands each request on to a server on this machine, over HTTP."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        path = quote(environ["SCRIPT_NAME"] + environ["PATH_INFO"]) + "?" + environ["QUERY_STRING"]
        with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request(environ["REQUEST_METHOD"], path, environ["wsgi.input"].read(length), headers)
            response = connection.getresponse()
            kept = [(n, v) for n, v in response.getheaders() if n.lower() not in ("connection", "transfer-encoding")]
            start_response(f"{response.status} {response.reason}", kept)
            return [response.read()]

    return app


def _serve(descriptor: int) -> None:
    import waitress

    threading.Thread(target=_end_with_parent, daemon=True).start()
    waitress.create_server(site_from_environ(), sockets=[socket.socket(fileno=descriptor)], threads=8).run()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


# -- programs ---------------------------------------------------------------------------------------------

_RUN_ALL = """
import os, runpy, sys
import bottle, clef_wsgi.testing, django.core.wsgi, flask, pyramid.config, sqlalchemy, waitress
for path, port in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:
        os.environ["CLEF_WSGI_BASE_URL"] = f"http://localhost:{port}"
        runpy.run_path(path, run_name="__main__")
        os._exit(0)
"""


@contextmanager
def programs(names: Iterable[str], folder: Path) -> Iterator[dict[str, str]]:
    """Each example as ``python EXAMPLE.py`` runs it, without settings; the address of each.

    One process imports what they share, and forks. ``folder`` is for their temporary files.
    """
    ports = {name: free_port() for name in names}
    files = [word for name, port in ports.items() for word in (str(find_example().with_name(name + ".py")), str(port))]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CLEF_WSGI_")}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _RUN_ALL, *files],
        stdout=subprocess.PIPE,
        text=True,
        env={**environ, "TMPDIR": str(folder), "PYTHONPATH": str(Path(clef_wsgi.__file__).parent.parent)},
        start_new_session=True,
    ) as process:
        try:
            yield _addresses(process.stdout, ports)
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C would: they clean up after themselves


def _addresses(lines: Iterable[str] | None, ports: Mapping[str, int]) -> dict[str, str]:
    """Wait until all programs listen and return the addresses they printed."""
    urls = {f"http://localhost:{port}": name for name, port in ports.items()}
    found: dict[str, str] = {}
    for line in lines or ():
        url = line.strip().removeprefix("Open ")
        if url in urls:
            found[urls[url]] = url
            await_listening(int(url.rpartition(":")[2]))
        if len(found) == len(ports):
            break
    return found


# -- browsers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """One example: its ``name``, an ``app`` that reaches it, and its data."""

    name: str
    app: WSGIApp
    data: Path

    def browser(self, prefix: str = "") -> Browser:
        return Browser(self, prefix)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """The logout store can't be asked for as long as the block runs."""
        switch = self.data / "off"
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()


class Browser(webtest.TestApp):  # type: ignore[misc]  # WebTest ships no types
    """Somebody's browser, at the address of a site; ``prefix`` is where the site is mounted."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site.app)
        self._prefix = prefix

    def visit(self, path: str, **request: Any) -> Any:
        return self.get(self._prefix + path, **request)

    def log_in(self, person: str = ANN, path: str = "/account") -> Any:
        """From a page for members over the provider to where the site sends the browser then; that page."""
        return self.come_back(self.start_login(path), person)

    def start_login(self, path: str = "/account") -> str:
        """The provider's address that a page for members leads to."""
        location: str = self.visit(path, status=303).follow(status=303).location
        return location

    def come_back(self, login_url: str, person: str) -> Any:
        query = {"code": person, "state": state_of(login_url)}
        return self.get(self._prefix + "/clef/callback", query, status=303).follow(status=200)

    def notify(self, person: str) -> Any:
        """Send the provider's notification of a person's logout."""
        token = f"{person.partition(':')[0]}.{next(_serial)}"
        return self.post(self._prefix + "/clef/webhook", {"logout_token": token}, status=200)

    def keep(self, note: str) -> Any:
        """Fill in and send the form of the account page; return the next page."""
        form = self.visit("/account", status=200).forms[1]
        form["note"] = note
        return form.submit(status=(302, 303)).follow(status=200)

    def sign_out(self) -> Any:
        """Press the button on the account page; return the next page."""
        return self.visit("/account", status=200).forms[0].submit(headers=SAME_ORIGIN, status=303).follow(status=200)

    @property
    def is_in(self) -> bool:
        """Return True when the page for members opens."""
        return bool(self.visit("/account", status=(200, 303)).status_int == 200)


def shown(page: Any) -> dict[str, str]:
    """The lines of an account page."""
    return {line.text.partition(",")[0]: line.find_next("dd").text for line in page.html.select("dt")}


def path_of(page: Any) -> str:
    """A page's address within the host, with its query."""
    address = urlsplit(str(page.request.url))
    return address.path + ("?" + address.query if address.query else "")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
