"""The floors of the login server: which room may import which, held by a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.imports import COMPUTED, imported_names

import clef_wsgi.server

PREFIX = "clef_wsgi.server"
SERVER = Path(clef_wsgi.server.__file__).parent

FLOORS = (
    ("clock", "credentials", "errors", "forks", "names", "options", "public_suffixes", "texts", "tokens"),
    ("database",),
    ("records",),
    ("delivery", "metrics", "ceremonies"),  # so storage imports no ceremonies
    ("web.support",),
    ("web.authorization", "web.receipts"),
    ("web", "web.account", "web.monitoring", "web.passkeys", "web.site_api"),
    ("app",),
    ("commands",),
    ("",),  # clef_wsgi.server itself: the public names
)
"""The rooms, from the ground up. An import points to a floor below, or stays in its room.

Beside them the server stands on ``clef_wsgi.base``; it meets the rest of the package over HTTP only.
"""

COMPUTED_IN = {""}
"""Modules that may pass a computed name to ``import_module``: the package, for its lazily loaded public names."""


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(SERVER).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {_module_name(path): path for path in sorted(SERVER.rglob("*.py"))}


def _room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "web" else 1])


def _floor(room: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def _may_import(module: str, target: str) -> bool:
    """Return whether the table allows an import; ``target`` is a dotted name of the package, or ``COMPUTED``."""
    if target == COMPUTED:
        return module in COMPUTED_IN
    if not target.startswith(PREFIX):
        return target.startswith("clef_wsgi.base.")
    room, other = _room(module), _room(_module_of(target))
    return room == other or _floor(other) < _floor(room) or _floor(other) == _floor(room) == 0


def _module_of(target: str) -> str:
    parts = target.removeprefix(PREFIX).strip(".").split(".")
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def _own_imports(module: str) -> set[str]:
    path = MODULES[module]
    name = f"{PREFIX}.{module}".rstrip(".")
    found = imported_names(path, name if path.name == "__init__.py" else name.rpartition(".")[0])
    return {target for target in found if target == COMPUTED or target.startswith("clef_wsgi")}


def test_every_room_has_a_floor() -> None:
    """A new room is put on its floor, and a room that is gone leaves the table."""
    assert {_room(module) for module in MODULES} == set(sum(FLOORS, ()))


def test_imports_point_down() -> None:
    """``commands > app > web > delivery, metrics, ceremonies > records > database >`` the ground floor."""
    imports = {(module, target) for module in MODULES for target in _own_imports(module)}
    assert sorted(f"{module} -> {target}" for module, target in imports if not _may_import(module, target)) == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("errors", "clef_wsgi.server.database.engine"),
        ("records.passkeys", "clef_wsgi.server.ceremonies.verification"),
        ("records.outbox", "clef_wsgi.server.delivery.failures"),
        ("delivery.failures", "clef_wsgi.server.web.support.pages"),
        ("web.support.guard", "clef_wsgi.server.web.site_api.views"),
        ("web.receipts.views", "clef_wsgi.server.web.account.views"),
        ("web.account.views", "clef_wsgi.server.app.create_app"),
        ("app", "clef_wsgi.server.commands"),
        ("app", "clef_wsgi.middleware"),
        ("app", COMPUTED),
    ],
)
def test_the_table_refuses(module: str, target: str) -> None:
    """The table can fail: each of these directions is refused."""
    assert not _may_import(module, target)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('from importlib import import_module\nimport_module("clef_wsgi.server.app")', "clef_wsgi.server.app"),
        ('import importlib\ndef f():\n importlib.import_module(".app", __package__)', "clef_wsgi.server.app"),
        ("from importlib import import_module\nimport_module(f'{__name__}.app')", COMPUTED),
        ("def f():\n from .app import create_app", "clef_wsgi.server.app.create_app"),
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, text: str, found: str) -> None:
    """Also within a function, relative, and by ``import_module``."""
    (tmp_path / "module.py").write_text(text, encoding="utf-8")
    assert found in imported_names(tmp_path / "module.py", PREFIX)
