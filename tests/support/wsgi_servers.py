"""The routers' sites under real servers and behind real fronts, and requests that say exactly these bytes.

A process of a server has all sites in it; the header ``X-Site: ROUTER SITE`` says which one is asked, since a path
can't: it is what the tests are about. Run as a program, this file serves them with the servers that are Python alone.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import clef_wsgi
from support import app
from support.ports import await_listening, free_port
from support.programs import python_path, unmeasured
from support.routers import MEMBERS, PROTECTED, SECRET_TEXT, make_files, make_router
from support.services import require

Environ = dict[str, Any]
WSGIApp = Callable[..., Iterable[bytes]]

PATIENCE_SECONDS = 20.0
BASE_URL = "http://localhost"
PREFIX = "/app"
REACHED = "X-Reached"
"""A header that every answer of an app has, and no answer of the middleware."""

SITES: dict[str, dict[str, Any]] = {
    "pages": {"protect": PROTECTED},
    "ignoring": {"protect": PROTECTED, "ignore": ["/static"]},
    "everything": {"protect": ["/"]},
    "everything-but": {"protect": ["/"], "public": ["/", "/public", "/site/public"]},
    "admin-alone": {"protect": ["/admin"]},
    "prefixed": {"protect": ["/admin"], "base_url": BASE_URL + PREFIX},
}
BARE = "bare"


# -- the sites ------------------------------------------------------------------------------------------------


class Sites:
    """All sites as one app. Each is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, WSGIApp] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        router, site = environ.get("HTTP_X_SITE", "flask everything").split(" ")
        return self._site(router, site)(environ, start_response)

    def _site(self, router: str, site: str) -> WSGIApp:
        with self._lock:
            if router not in self._made:
                self._made[router] = _reached(make_router(router, self._folder / "files" / "static"))
            bare, name = self._made[router], f"{router} {site}"
            if name not in self._made:
                self._made[name] = bare if site == BARE else self._wrap(bare, **SITES[site])
            return self._made[name]

    def _wrap(self, bare: WSGIApp, base_url: str = BASE_URL, **options: Any) -> WSGIApp:
        return clef_wsgi.wrap(
            bare,
            provider=app.FakeProvider(),
            logout_store=clef_wsgi.SQLiteLogoutStore(self._folder / "logouts.db"),
            base_url=base_url,
            session={"secret": app.SECRET, "type": "file", "data_dir": str(self._folder / "sessions")},
            **options,
        )


def _reached(app: WSGIApp) -> WSGIApp:
    def marked(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, (REACHED, "yes")], *rest)

        return app(environ, start)

    return marked


def _folder() -> Path:
    return Path(os.environ["CLEF_SITES"])


application: WSGIApp = Sites(_folder()) if "CLEF_SITES" in os.environ else app.echo
"""The WSGI application that gunicorn and uWSGI import."""


# -- servers --------------------------------------------------------------------------------------------------

OLD_GUNICORN = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clef_wsgi" / "gunicorn-23"
"""The directory in which scripts/old_gunicorn.sh installs an older gunicorn."""
IN_PYTHON = ("waitress", "wsgiref", "werkzeug")
SERVERS = (*IN_PYTHON, "gunicorn", "gunicorn-23", "uwsgi")


def serve(ports: Sequence[int]) -> None:
    """Each of :data:`IN_PYTHON` on its port, until standard input ends."""
    for run, port in zip((_waitress, _wsgiref, _werkzeug), ports, strict=True):
        threading.Thread(target=run, args=(port,), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def _waitress(port: int) -> None:
    import waitress

    waitress.serve(application, host="127.0.0.1", port=port, threads=4)


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


def _wsgiref(port: int) -> None:
    with _Threads(("127.0.0.1", port), _Quiet) as server:
        server.set_app(application)
        server.serve_forever()


def _werkzeug(port: int) -> None:
    import werkzeug.serving

    werkzeug.serving.make_server("127.0.0.1", port, application, threaded=True).serve_forever()


class Servers:
    """Servers, started when they are asked for, as a context manager; ``folder`` has their files and their logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, int] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            _wait(process)

    def port(self, server: str) -> int:
        """Return the port of a server: one of :data:`SERVERS`, :data:`UWSGI_PROTOCOL`, :data:`SLASHED`."""
        if server not in self._ports:
            self._start(server)
        return self._ports[server]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _start(self, server: str) -> None:
        if server in IN_PYTHON:
            self._run(IN_PYTHON, lambda ports: [sys.executable, __file__, *map(str, ports)])
        elif server.startswith("uwsgi"):
            self._run(("uwsgi", UWSGI_PROTOCOL), _uwsgi)
        elif server == "gunicorn-23":
            found = (OLD_GUNICORN / "gunicorn").is_dir()
            require("gunicorn 23", found, "run scripts/old_gunicorn.sh.")
            self._run((server,), _gunicorn, PYTHONPATH=str(OLD_GUNICORN))
        else:
            self._run((server,), _gunicorn, **({"SCRIPT_NAME": f"{PREFIX}/"} if server != "gunicorn" else {}))

    def _run(self, names: Sequence[str], command: Callable[[list[int]], list[str]], **environ: str) -> None:
        ports = [free_port() for _ in names]
        self.start(names[0], command(ports), ports, **environ)
        self._ports.update(zip(names, ports, strict=True))

    def start(self, name: str, command: Sequence[str], ports: Iterable[int], **environ: str) -> None:
        """Run a program until the servers end, and wait until it listens on all of ``ports``."""
        own = {"CLEF_SITES": str(self.folder), "HOME": str(self.folder), "PYTHONWARNINGS": "ignore"}
        own = {**unmeasured(), **own, **environ, "PYTHONPATH": python_path(environ.get("PYTHONPATH", ""))}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=own, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._running.append(process)
        try:
            for port in ports:
                await_listening(port, PATIENCE_SECONDS, is_alive=lambda: process.poll() is None)
        except TimeoutError:
            raise AssertionError(f"{name} did not start: {self.log(name)[-2000:]}") from None


UWSGI_PROTOCOL = "uwsgi-protocol"
SLASHED = "gunicorn-slashed"
"""gunicorn whose setting SCRIPT_NAME ends with a slash: PATH_INFO has none at its beginning."""


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _gunicorn(ports: list[int]) -> list[str]:
    options = ["--bind", f"127.0.0.1:{ports[0]}", "--threads", "4", "--graceful-timeout", "1"]
    return [sys.executable, "-m", "gunicorn", *options, "support.wsgi_servers:application"]


def _uwsgi(ports: list[int]) -> list[str]:
    program = Path(sys.executable).with_name("uwsgi")
    require("uwsgi", program.is_file(), 'pip install ".[dev]"')
    http, own = ("--http-socket", f"127.0.0.1:{ports[0]}"), ("--socket", f"127.0.0.1:{ports[1]}")
    options = ["--module", "support.wsgi_servers:application", "--threads", "4", "--need-app", "--die-on-term"]
    return [str(program), *http, *own, *options, "--buffer-size", "16384", "--disable-logging"]


# -- fronts ---------------------------------------------------------------------------------------------------

FRONTS = {"nginx": "nginx", "haproxy": "haproxy", "caddy": "caddy"}
"""The programs, and the Debian packages that have them."""


def start_front(front: str, servers: Servers, behind: Sequence[str]) -> dict[str, int]:
    """Start ``front`` with a port for each server that stands behind it.

    :returns: the ports, by server; for nginx also those of ``location /app/`` that strips the prefix, and that does
        not: by "stripped" and "kept", with the first server behind them.
    """
    program = shutil.which(front, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    require(front, program is not None, f"install the package {FRONTS[front]}.")
    names = [*behind, *(("stripped", "kept") if front == "nginx" else ())]
    ports = {name: free_port() for name in names}
    backends = [(ports[name], name, servers.port(name if name in behind else behind[0])) for name in names]
    text, options = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}[front](servers.folder, backends)
    (servers.folder / f"{front}.conf").write_text(text, encoding="utf-8")
    servers.start(front, [str(program), *options], ports.values())
    return ports


Backends = Sequence[tuple[int, str, int]]
"""The front's port, a name, and the server's port."""


def _nginx(folder: Path, backends: Backends) -> tuple[str, list[str]]:
    sites = []
    for port, name, server in backends:
        to = f"proxy_pass http://127.0.0.1:{server}; proxy_set_header Host $http_host;"
        if name == UWSGI_PROTOCOL:
            to = f"include {folder}/uwsgi_params; uwsgi_pass 127.0.0.1:{server};"
        where = {"stripped": f"location {PREFIX}/", "kept": f"location {PREFIX}/"}.get(name, "location /")
        if name == "stripped":
            to = to.replace(";", "/;", 1)
        sites.append(f"server {{ listen 127.0.0.1:{port}; {where} {{ {to} }} }}")
    names = ("QUERY_STRING", "REQUEST_METHOD", "CONTENT_TYPE", "CONTENT_LENGTH", "REQUEST_URI", "SERVER_PROTOCOL")
    values = [f"uwsgi_param {name} ${name.lower()};" for name in (*names, "SERVER_PORT", "SERVER_NAME", "REMOTE_ADDR")]
    values.append("uwsgi_param PATH_INFO $document_uri;")  # as Debian's /etc/nginx/uwsgi_params has it
    (folder / "uwsgi_params").write_text("\n".join(values), encoding="utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/nginx-{kind}; " for kind in kinds)
    text = (
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err; "
        f"events {{ worker_connections 256; }} http {{ access_log off; {paths} {' '.join(sites)} }}"
    )
    return text, ["-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def _haproxy(folder: Path, backends: Backends) -> tuple[str, list[str]]:
    lines = ["defaults", " mode http", " timeout connect 5s", " timeout client 10s", " timeout server 10s"]
    for port, name, server in backends:
        lines += [f"listen {name.replace(' ', '-')}", f" bind 127.0.0.1:{port}", f" server one 127.0.0.1:{server}"]
    return "\n".join([*lines, ""]), ["-db", "-f", str(folder / "haproxy.conf")]


def _caddy(folder: Path, backends: Backends) -> tuple[str, list[str]]:
    text = "{\n admin off\n auto_https off\n}\n"
    for port, _, server in backends:
        text += f"http://:{port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{server}\n}}\n"
    return text, ["run", "--adapter", "caddyfile", "--config", str(folder / "caddy.conf")]


# -- requests -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A raw HTTP answer, unparsed."""

    raw: bytes

    @property
    def status(self) -> int:
        """0 where there is no status line, as of HTTP/0.9; what stands before it uWSGI repeats from the request."""
        found = re.match(rb"[^\r\n]* ([1-5]\d\d) [^\r\n]*\r\n", self.raw)
        return int(found[1]) if found else 0

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def is_from_app(self) -> bool:
        return REACHED.lower() in self.headers

    @property
    def is_page(self) -> bool:
        """True when the answer holds any part of a page for members."""
        return SECRET_TEXT in self.raw or MEMBERS.lower() in self.headers

    @property
    def asks_for_login(self) -> bool:
        if self.status == 303:
            return urlsplit(self.headers.get("location", "")).path.endswith("/clef/login")
        return self.status in (400, 401)


def say(port: int, line: bytes, headers: Mapping[str, str] | None = None, *, site: str = "") -> Answer:
    """Send one request, with exactly this request line, and return all that comes until the other side closes."""
    said = {"Host": "localhost", "Connection": "close", "X-Site": site, **(headers or {})}
    lines = [f"{name}: {value}".encode("latin-1") for name, value in said.items()]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(b"\r\n".join([line, *lines, b"", b""]))
        chunks = []
        try:
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        except ConnectionResetError:  # what it did not want to read was still under way
            pass
        return Answer(b"".join(chunks))


def signed_in(port: int, site: str) -> str:
    """Somebody's cookie, after the whole way of a login."""
    started = say(port, b"GET /clef/login?next=/ HTTP/1.1", {"Accept": "text/html"}, site=site)
    state = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    cookie = {"Cookie": _cookie(started)}
    finished = say(port, f"GET /clef/callback?code=ann&state={state} HTTP/1.1".encode(), cookie, site=site)
    assert finished.status == 303, finished.raw
    return _cookie(finished)


def _cookie(answer: Answer) -> str:
    jar = SimpleCookie(answer.headers["set-cookie"])
    return "; ".join(f"{name}={morsel.coded_value}" for name, morsel in jar.items())


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Yield servers that have the routers' files."""
    make_files(folder / "files")
    with Servers(folder) as servers:
        yield servers


if __name__ == "__main__":
    serve([int(port) for port in sys.argv[1:]])
