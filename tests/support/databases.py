"""The databases that tests ask: those that run already, on their usual ports, and private ones that may be hurt.

A private server lies in a directory of its own, listens on a free port of 127.0.0.1, and ends with its block.
"""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import redis
import sqlalchemy

from clef_wsgi.stores.redis import RedisLogoutStore
from clef_wsgi.stores.sql import SQLAlchemyLogoutStore
from support.ports import answers, free_port
from support.services import require

PATIENCE_SECONDS = 30.0
PORTS = {
    "postgresql": int(os.environ.get("CLEF_POSTGRESQL_PORT", "5432")),
    "mariadb": 3306,
    "redis": int(os.environ.get("CLEF_REDIS_PORT", "6379")),
}
"""Ports of services that may already run on 127.0.0.1, as in scripts/services.sh."""
POSTGRESQL_URL = f"postgresql://postgres@127.0.0.1:{PORTS['postgresql']}/test"
MARIADB_URL = f"mariadb://root@127.0.0.1:{PORTS['mariadb']}/test?ssl_disabled=true"
"""Without TLS: PyMySQL reads all of the system's certificates for each connection that might use it."""
REDIS_URL = f"redis://127.0.0.1:{PORTS['redis']}/0"
CALM = {"connect_timeout_seconds": 5.0, "read_timeout_seconds": 5.0}
"""Time-outs for tests that are about something else: the machine may be busy."""

_names = itertools.count(1)


def unique_prefix() -> str:
    """Return a prefix that keeps tests apart which run at the same time, in several processes."""
    return f"clef_test_{os.getpid()}_{next(_names)}_"


def require_at(url: str) -> None:
    """Skip the test where that database does not answer. MariaDB is never required."""
    name = url.partition("://")[0]
    if name == "mariadb" and not answers(PORTS[name]):
        pytest.skip("no MariaDB on its usual port")  # not required: PostgreSQL shows the same store
    require(name, answers(PORTS[name]), "scripts/services.sh starts one.")


@contextmanager
def sql_store(url: str, **options: Any) -> Iterator[SQLAlchemyLogoutStore]:
    """A store on tables of its own, which are dropped at the end."""
    prefix = unique_prefix()
    store = SQLAlchemyLogoutStore(url, **{"table_prefix": prefix, **CALM, **options})
    try:
        yield store
    finally:
        store.close()
        drop_tables(url, prefix)


def engine_at(url: str) -> sqlalchemy.Engine:
    """For what a store does not do itself."""
    name, _, rest = url.partition("://")
    driver = {"postgresql": "+psycopg", "mariadb": "+pymysql"}.get(name, "")
    return sqlalchemy.create_engine(f"{name}{driver}://{rest}", poolclass=sqlalchemy.NullPool)


def drop_tables(url: str, prefix: str, *names: str) -> None:
    with engine_at(url).begin() as connection:
        for table in names or ("mark", "logout", "idempotency_key"):
            connection.execute(sqlalchemy.text(f"DROP TABLE IF EXISTS {prefix}{table}"))


@contextmanager
def redis_store(url: str = REDIS_URL, **options: Any) -> Iterator[RedisLogoutStore]:
    """A store on a key of its own, which is deleted at the end."""
    prefix = unique_prefix()
    store = RedisLogoutStore(url, **{"prefix": prefix, **CALM, **options})
    try:
        yield store
    finally:
        store.close()
        with redis.Redis.from_url(url) as client:
            client.delete(f"{prefix}logouts")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)


def lives(pid: int) -> bool:
    """Return True while the process runs (a zombie does not). Without /proc, no process counts as running."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Forgetful:
    """Stands between a store and its server, as a context manager, like a firewall that forgets connections.

    After :meth:`forget`, what goes through the connections of before is lost, and nobody is told; new ones work.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()

    def __enter__(self) -> Forgetful:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in [self._listener, *self._sockets]:
            end.close()

    @property
    def connections(self) -> int:
        return len(self._sockets) // 2

    def forget(self) -> None:
        self._forgotten = {*self._sockets}

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if source not in self._forgotten:
                    sink.sendall(content)
            if source not in self._forgotten:
                sink.shutdown(socket.SHUT_WR)


class PrivateServer:
    """A server process with its files, as a context manager. ``url`` is for a store."""

    name = ""
    url = ""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="clef-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Any:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def prepare(self) -> None:
        """Prepare the service's files, once."""

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def pids(self) -> list[int]:
        """The server's processes, the first of which was started here."""
        assert self._process is not None
        return [self._process.pid]

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=self.directory, stdout=log, stderr=log)
        wait_until(self.is_ready, f"{self.name} did not start")

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send a signal that ends it, and wait until all its processes have ended: one that is left may answer."""
        assert self._process is not None
        pids = self.pids()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
        self._process.wait(timeout=PATIENCE_SECONDS)
        self._process = None
        wait_until(lambda: not any(map(lives, pids)), f"processes of {self.name} live on")

    def restart_if_ended(self) -> None:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
            self.start()

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No file can grow: not those that are open, nor any that its processes open from now on."""
        self._limit_files("1:")
        try:
            yield
        finally:
            self._limit_files("unlimited:")

    def _limit_files(self, limit: str) -> None:
        for pid in self.pids():
            command = self.as_owner("prlimit", f"--pid={pid}", f"--fsize={limit}")
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)  # it may have ended

    def as_owner(self, program: str, *arguments: str) -> list[str]:
        """A command as the server's own user."""
        return [program, *arguments]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Suspend the server: the kernel accepts connections, and nothing answers."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


class PrivateRedis(PrivateServer):
    """Writes each change to its file before it answers."""

    name = "Redis"

    def __init__(self) -> None:
        require(self.name, shutil.which("redis-server") is not None, "install the package redis-server.")
        super().__init__()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "repl-diskless-sync-delay": 0,
        }
        path = self.directory / "redis.conf"
        path.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        return ["redis-server", str(path)]

    def is_ready(self) -> bool:
        with suppress(redis.RedisError), redis.Redis(port=self.port, socket_timeout=1) as client:
            return bool(client.ping())
        return False

    def lose_everything(self) -> None:
        shutil.rmtree(self.directory / "appendonlydir")


class PrivatePostgreSQL(PrivateServer):
    """A cluster of its own. PostgreSQL refuses to run as root: then it runs as the user that its package made."""

    name = "PostgreSQL"

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        require(self.name, bool(found), "install the package postgresql.")
        super().__init__()
        self._programs = found[-1].parent
        self._data = self.directory / "data"
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
        options = ["--username=postgres", "--auth=trust", "--no-sync", "--pgdata", str(self._data)]
        subprocess.run(
            self.as_owner(str(self._programs / "initdb"), *options),
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def command(self) -> Sequence[str]:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self.as_owner(str(self._programs / "postgres"), "-D", str(self._data), *options)

    def is_ready(self) -> bool:
        done = subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"],
            check=False,
        )
        return done.returncode == 0

    def pids(self) -> list[int]:
        (parent,) = super().pids()
        with suppress(OSError):
            return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]
        return [parent]

    def as_owner(self, program: str, *arguments: str) -> list[str]:
        switch = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return [*switch, program, *arguments]


class PrivateStandby(PrivatePostgreSQL):
    """A replica of another cluster, with fsync."""

    def __init__(self, primary: PrivatePostgreSQL) -> None:
        super().__init__()
        self._primary = primary

    def prepare(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
        source = f"--dbname={self._primary.url}"
        options = [source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata", str(self._data)]
        subprocess.run(self.as_owner(str(self._programs / "pg_basebackup"), *options), cwd=self.directory, check=True)

    def command(self) -> Sequence[str]:
        return [*super().command(), "-c", "fsync=on"]


class PrivateMariaDB(PrivateServer):
    """A server with a database named test. It is never required."""

    name = "MariaDB"

    def __init__(self) -> None:
        if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
            pytest.skip("no MariaDB is installed")
        super().__init__()
        self._files = [f"--datadir={self.directory / 'data'}", f"--user={getpass.getuser()}"]
        self.url = f"mariadb://root@127.0.0.1:{self.port}/test?ssl_disabled=true"

    def prepare(self) -> None:
        options = ["--no-defaults", *self._files, "--auth-root-authentication-method=normal"]
        subprocess.run(["mariadb-install-db", *options], check=True, stdout=subprocess.DEVNULL)

    def command(self) -> Sequence[str]:
        socket_path = f"--socket={self.directory / 'socket'}"
        where = ["--bind-address=127.0.0.1", f"--port={self.port}", socket_path]
        return ["mariadbd", "--no-defaults", *self._files, *where]

    def is_ready(self) -> bool:
        return answers(self.port)

    def set(self, name: str, number: int) -> None:
        with engine_at(self.url).connect() as connection:
            connection.execute(sqlalchemy.text(f"SET GLOBAL {name} = {number}"))
