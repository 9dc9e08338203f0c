"""Beaker's own records, as somebody with access to the session store sees and changes them.

One class for each back-end. This file knows how Beaker 1.14 stores a session, and nothing of the package.
"""

from __future__ import annotations

import json
import pickle
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from beaker.container import MemoryNamespaceManager

from support.services import require

REDIS_URL = "redis://127.0.0.1:6379/15"
_SIGNATURE_LENGTH = 40


class Records:
    """The records of one back-end. A ``cookie`` is a ``Cookie`` header with one signed session cookie."""

    name: str
    options: dict[str, Any]
    """Beaker's options for this back-end."""

    def read(self, cookie: str) -> dict[str, Any]:
        """Return the session's content without Beaker's own entries; empty when there is no record."""
        value = self.value(cookie)
        content = json.loads(unpacked(value)) if value is not None else {}
        return {name: entry for name, entry in content.items() if not name.startswith("_")}

    def change(self, cookie: str, **entries: Any) -> None:
        """Overwrite some entries of the session."""
        value = self.value(cookie)
        assert value is not None, "there is no such session"
        self.write(cookie, {**json.loads(unpacked(value)), **entries})

    def write(self, cookie: str, content: Any) -> None:
        """Write any JSON value in place of the session's dict."""
        self.put(cookie, packed(json.dumps(content).encode()))

    def value(self, cookie: str) -> Any:
        """The serialized session, or None."""
        raise NotImplementedError

    def put(self, cookie: str, value: Any) -> None:
        """Write a serialized session, or anything else, in its place."""
        raise NotImplementedError

    def break_envelope(self, cookie: str, garbage: bytes) -> None:
        """Write garbage in place of Beaker's own envelope, which is pickle; memory sessions have none."""
        raise NotImplementedError


class MemoryRecords(Records):
    name = "memory"
    options: dict[str, Any] = {"type": "memory"}  # noqa: RUF012

    def value(self, cookie: str) -> Any:
        return self._dictionary(cookie).get("session")

    def put(self, cookie: str, value: Any) -> None:
        self._dictionary(cookie)["session"] = value

    def _dictionary(self, cookie: str) -> dict[str, Any]:
        found: dict[str, Any] = MemoryNamespaceManager(session_id(cookie)).dictionary
        return found


class StartedLogin:
    """The one started login in this process's memory since ``before``, which :func:`names` gave: what it holds."""

    def __init__(self, before: set[str]) -> None:
        places = MemoryNamespaceManager.namespaces.dict
        [self.place] = [places[name] for name in names() - before if "login" in places[name]]

    def read(self) -> dict[str, Any]:
        found = {key: json.loads(zlib.decompress(value)) for key, value in self.place.items()}
        return {**found["login"], **({"next": found["next"]} if "next" in found else {})}

    def change(self, **fields: Any) -> None:
        """Overwrite some fields, ``next`` among them."""
        content = {**self.read(), **fields}
        if "next" in content:
            self.place["next"] = zlib.compress(json.dumps(content.pop("next")).encode())
        self.place["login"] = zlib.compress(json.dumps(content).encode())


def names() -> set[str]:
    """The names of all records in this process's memory."""
    return set(MemoryNamespaceManager.namespaces.dict)


class FileRecords(Records):
    name = "file"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.options = {"type": "file", "data_dir": str(directory)}

    def path(self, cookie: str) -> Path:
        key = session_id(cookie)
        return self._directory / "container_file" / key[0] / key[:2] / f"{key}.cache"

    def value(self, cookie: str) -> Any:
        path = self.path(cookie)
        return pickle.loads(path.read_bytes())["session"] if path.exists() else None

    def put(self, cookie: str, value: Any) -> None:
        self.break_envelope(cookie, pickle.dumps({"session": value}))

    def break_envelope(self, cookie: str, garbage: bytes) -> None:
        self.path(cookie).write_bytes(garbage)


class RedisRecords(Records):
    name = "redis"

    def __init__(self, client: Any) -> None:
        self._client = client
        self.options = {"type": "ext:redis", "url": client}

    def value(self, cookie: str) -> Any:
        found = self._client.get(self._key(cookie))
        return pickle.loads(found) if found is not None else None

    def put(self, cookie: str, value: Any) -> None:
        self.break_envelope(cookie, pickle.dumps(value))

    def break_envelope(self, cookie: str, garbage: bytes) -> None:
        self._client.set(self._key(cookie), garbage)

    def _key(self, cookie: str) -> str:
        return f"beaker_cache:{session_id(cookie)}:session"


def login_entry(content: Iterable[str]) -> str:
    """The name of the one login in a session; an assertion fails where there is none, or another's, too."""
    [name] = [name for name in content if name.startswith("clef.login.")]
    return name


def has_login(content: Iterable[str]) -> bool:
    return any(name.startswith("clef.login.") for name in content)


def packed(data: bytes) -> str:
    """Serialized data as Beaker's json serializer wraps it."""
    return b64encode(zlib.compress(data)).decode()


def unpacked(value: str) -> bytes:
    return zlib.decompress(b64decode(value))


def session_id(cookie: str) -> str:
    """The session's id in a ``Cookie`` header: Beaker puts a signature in front of it."""
    name, _, value = cookie.partition("=")
    assert name.removeprefix("__Host-").startswith("clef-"), cookie
    assert ";" not in value, cookie
    return value.strip('"')[_SIGNATURE_LENGTH:]


@contextmanager
def redis_records(_directory: Path = Path()) -> Iterator[Records]:
    require("redis-py", find_spec("redis") is not None, "pip install redis")

    class Client(import_module("redis").Redis):  # type: ignore[misc]
        """Notes what it wrote, so that it is removed, and nothing of anybody else."""

        written: set[str] = set()  # noqa: RUF012

        def execute_command(self, *args: Any, **options: Any) -> Any:
            if args[0] in ("SET", "SETEX"):
                self.written.add(args[1])
            return super().execute_command(*args, **options)

    client = Client.from_url(REDIS_URL, socket_connect_timeout=0.5)
    require("Redis", _answers(client), "start redis-server on 127.0.0.1:6379.")
    yield RedisRecords(client)
    if client.written:
        client.delete(*client.written)
    client.close()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except import_module("redis").RedisError:
        return False


def _file_records(directory: Path) -> Context[Records]:
    return nullcontext(FileRecords(directory / "sessions"))


def _memory_records(_directory: Path) -> Context[Records]:
    return nullcontext(MemoryRecords())


BackEnd = Callable[[Path], Context[Records]]
BACK_ENDS = [
    pytest.param(_memory_records, id="memory"),
    pytest.param(_file_records, id="file"),
    pytest.param(
        redis_records,
        id="redis",
        # Beaker's back-end uses a name that redis-py would like to see gone.
        marks=[pytest.mark.services, pytest.mark.filterwarnings("ignore:Call to deprecated setex")],
    ),
]
"""For a parametrized fixture: each is called with a directory and gives a context with :class:`Records`."""

WITH_ENVELOPE = BACK_ENDS[1:]
