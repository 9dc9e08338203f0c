"""Beaker's private names: those that are used are there, in this Beaker, and one module alone uses them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beaker import synchronization
from beaker.ext.redisnm import RedisNamespaceManager
from beaker.session import Session, SessionObject
from beaker.synchronization import FileSynchronizer

import clef_wsgi
from clef_wsgi.beaker import private

PACKAGE = Path(clef_wsgi.__file__).parent


def found(home: Any) -> set[str]:
    """The names of an object: attributes, entries, and what its class and module have."""
    entries = set(home) if isinstance(home, dict) else set()
    return {*dir(home), *entries}


def test_each_name_is_there() -> None:
    """In the lowest and in the newest Beaker: .ci/run runs this with both."""
    environ: dict[str, Any] = {}
    lazy = SessionObject(environ, type="memory", secret="x" * 32)
    lazy.save()
    session = Session({}, secret="x" * 32)
    homes = {
        "SessionObject": found(lazy),
        "Session": found(session),
        "FileSynchronizer": found(FileSynchronizer) | found(synchronization),
        "RedisNamespaceManager": found(RedisNamespaceManager),
    }
    homes["FileSynchronizer"].add("_filedescriptor")  # an instance's own, which the property below reads
    assert isinstance(FileSynchronizer._filedesc, property)
    assert homes.keys() == private.NAMES.keys()
    missing = [(home, name) for home, names in private.NAMES.items() for name in names if name not in homes[home]]
    assert missing == []


def _uses(path: Path) -> Iterator[str]:
    names = {name for names in private.NAMES.values() for name in names}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else ""
        if name in names - {"_open"}:
            yield f"{path.relative_to(PACKAGE)}: {name}"


def test_one_module_alone_uses_them() -> None:
    """No other module of the package names one."""
    others = [path for path in PACKAGE.rglob("*.py") if path.name != "private.py" and "server" not in path.parts]
    assert [use for path in others for use in _uses(path)] == []
    assert {use.split(": ")[1] for use in _uses(PACKAGE / "beaker" / "private.py")} >= {"_params", "_format_key"}
