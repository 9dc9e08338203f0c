"""The package as a whole: what may import what, what ships, what the files may say, how big it is."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.util import resolve_name
from pathlib import Path
from tokenize import COMMENT, DEDENT, ENDMARKER, INDENT, NEWLINE, NL, generate_tokens

import pytest
from support.cases import each

import clef_wsgi

PACKAGE = Path(clef_wsgi.__file__).parent
TESTS = Path(__file__).parent
ROOT = TESTS.parent

FLOORS = (
    ("base",),
    ("texts",),
    ("interfaces", "events", "http", "cache_headers", "login_hints", "login_state", "webhook_limit"),
    ("beaker", "stores", "providers"),
    ("challenge", "clef_login", "login_required", "logout_rule", "return_addresses", "webhook"),
    ("login_flow",),
    ("logout_flow",),
    ("middleware_options",),
    ("middleware",),
    ("settings",),
    ("",),  # clef_wsgi itself: the public names
    (
        "paste",
        "cli",
        "check",
        "upkeep",
        "demo",
        "metrics",
        "flask",
        "bottle",
        "pyramid",
        "django",
        "testing",
        "examples",
        "__main__",
    ),
)
"""The rooms, from the ground up. An import points to a floor below, or stays in its room."""

TOP = len(FLOORS) - 1
PLUGS = {"stores": ("memory", "sqlite", "sql", "redis", "cached"), "providers": ("clef", "oidc")}
"""Rooms of plugs that never import each other. Their other modules are shared."""
NOT_CORE = ("server", *FLOORS[TOP])
FOR_OTHERS = {"beaker.pruning", "settings.ini_file", "base.command_line"}
FOR_OTHERS |= {"base.redirect_rules", "base.authorization_request"}
"""Modules in the core's rooms that the command, the server and the double load, and no site."""


def _module_name(path: Path) -> str:
    """The name inside the package: ``""`` for clef_wsgi itself, ``middleware``, ``stores.sqlite``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {_module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
CORE = {name for name in MODULES if name.split(".")[0] not in NOT_CORE} - FOR_OTHERS


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _dotted_imports(module: str) -> Iterator[str]:
    """Yield all that a module imports, wherever in its text, as absolute dotted names."""
    parts = ["clef_wsgi", *filter(None, module.split("."))]
    package = ".".join(parts if MODULES[module].name == "__init__.py" else parts[:-1])
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{home}.{alias.name}" for alias in node.names)
    if _imports_by_name(tree):
        yield from _named_modules(tree, package)


def _imports_by_name(tree: ast.AST) -> bool:
    """Return whether a module calls ``import_module`` or ``__import__``."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(ast.unparse(function).split(".")[-1] in ("import_module", "__import__") for function in calls)


def _named_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield each module of the package that a text names: a call may get it from anywhere in its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if re.fullmatch(r"(clef_wsgi)?(\.\w+)+|clef_wsgi", name):
                yield resolve_name(name, package)


def _own_imports(module: str) -> Iterator[str]:
    """Those of them that are modules of the package."""
    for dotted in _dotted_imports(module):
        first, *parts = dotted.split(".")
        if first == "clef_wsgi":
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            yield ".".join(parts)


def _floor(room: str) -> int:
    return next((level for level, rooms in enumerate(FLOORS) if room in rooms), -1)


def _plug(module: str) -> str:
    """The plug that a module is, or belongs to; empty for what plugs share."""
    room, _, rest = module.partition(".")
    name = rest.split(".")[0]
    return name if name in PLUGS.get(room, ()) else ""


def _may_import(module: str, target: str) -> bool:
    room, other = module.split(".")[0], target.split(".")[0]
    if "server" in (room, other):
        return room == other or other == "base" or room in FLOORS[TOP]
    if room == other and room in PLUGS:
        return _plug(module) == _plug(target) or _plug(target) == ""
    return room == other or _floor(other) < _floor(room) or _floor(other) == _floor(room) == TOP


def test_every_room_has_a_floor() -> None:
    """A new module is put on its floor, so that its imports are held too."""
    assert {name.split(".")[0] for name in MODULES} <= {*sum(FLOORS, ()), "server"}


def test_imports_point_down() -> None:
    """A module imports from below or its own room; a plug, no other plug; the server, ``base`` alone of the rest."""
    imports = {(module, target) for module in MODULES for target in _own_imports(module) if target != module}
    assert sorted(f"{module} -> {target}" for module, target in imports if not _may_import(module, target)) == []


@each(
    ("module", "target"),
    [
        ("base.errors", "interfaces"),
        ("base.urls", "server.tokens"),
        ("middleware", "settings"),
        ("middleware", ""),
        ("stores.sqlite", "stores.memory"),
        ("stores.sqlite", "providers.http_client"),
        ("stores.keys", "stores.sql"),
        ("http", "beaker.login_record"),
        ("server.app", "interfaces"),
        ("server.app", "events"),
        ("server.app", "testing"),
        ("middleware", "server.app"),
    ],
)
def test_the_table_refuses(module: str, target: str) -> None:
    """The import table can fail: each of these directions is refused."""
    assert not _may_import(module, target)


BY_NAME = {"", "server", "settings.plugs", "settings.text_values"}
"""Modules that import by a name made at run time: public names when asked for, and plugs of somebody's own."""


def test_imports_by_name_are_few() -> None:
    """``import_module`` can't go around the table: no other module calls it."""
    calls = {
        (module, ast.unparse(node.func).split(".")[-1])
        for module in MODULES
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.Call)
    }
    assert {module for module, name in calls if name in ("import_module", "__import__")} == BY_NAME


def _loaded(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return set(done.stdout.split())


@each(
    ("source", "named"),
    [
        ("import importlib\nimportlib.import_module('clef_wsgi.server.app')", ["clef_wsgi.server.app"]),
        (
            "from importlib import import_module as load\nNAME = '.sql'\nimport_module(NAME, __name__)",
            ["clef_wsgi.sql"],
        ),
        (
            "KNOWN = {'redis': 'clef_wsgi.stores.redis:Store'}\nx = __import__(KNOWN['redis'])",
            ["clef_wsgi.stores.redis"],
        ),
        ("text = 'clef_wsgi.server.app'", []),
    ],
)
def test_the_table_sees_imports_by_name(source: str, named: list[str]) -> None:
    """A module that is imported by its name counts as imported, wherever the name stands in the file."""
    tree = ast.parse(source)
    assert (list(_named_modules(tree, "clef_wsgi")) if _imports_by_name(tree) else []) == named


def _top_level_modules(statement: str) -> set[str]:
    """Return the packages that it has loaded, beyond the standard library."""
    return {name.partition(".")[0] for name in _loaded(statement)} - sys.stdlib_module_names


@pytest.mark.process
def test_the_command_loads_no_demo() -> None:
    """``clef-wsgi prune`` loads neither the demo nor the server."""
    rooms = {name.split(".")[1] for name in _loaded("import clef_wsgi.cli") if name.startswith("clef_wsgi.")}
    assert rooms.isdisjoint({"demo", "server", "check", "testing"})
    assert "upkeep" in rooms


@pytest.mark.process
def test_import_is_light() -> None:
    """``import clef_wsgi`` loads only webob, requests, beaker and what they load."""
    baseline = _top_level_modules("import webob, requests, beaker.middleware")
    assert _top_level_modules("import clef_wsgi") - baseline == {"clef_wsgi"}


def test_public_names_exist() -> None:
    """Every name of ``__all__`` that needs no extra can be had from the package."""
    assert [name for name in clef_wsgi.__all__ if not hasattr(clef_wsgi, name)] == []


def _setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def _cfg_lines(section: str, option: str) -> list[str]:
    return [line for line in _setup_cfg().get(section, option).splitlines() if line]


def test_every_folder_is_declared() -> None:
    """The packages of setup.cfg are the folders that hold modules: none is left out of the wheel."""
    found = {".".join(["clef_wsgi", *path.parent.relative_to(PACKAGE).parts]) for path in PACKAGE.rglob("*.py")}
    assert set(_cfg_lines("options", "packages")) == found | {"clef_wsgi.examples"}


def test_files_beside_the_modules_ship() -> None:
    """The mark for type checkers is there, and the example that the demo serves can be found."""
    assert (files("clef_wsgi") / "py.typed").is_file()
    assert (ROOT / "examples" / "flask_app.py").is_file()


def test_version_is_the_newest_of_the_changelog() -> None:
    """The changelog's first release is the version of the package."""
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert _setup_cfg().get("metadata", "version") == newest[1]


def test_the_wheel_is_tested_where_it_should_be() -> None:
    """A run against the wheel sees no other clef_wsgi, and the wheel holds all it needs."""
    installed = "site-packages" in PACKAGE.parts and not (ROOT / "clef_wsgi" / "__init__.py").exists()
    assert installed == ("CLEF_EXPECT_INSTALLED" in os.environ)
    if installed:
        assert importlib.metadata.version("clef_wsgi") == _setup_cfg().get("metadata", "version")
        assert (files("clef_wsgi") / "examples" / "flask_app.py").is_file()


def test_command_is_there() -> None:
    """The entry point of setup.cfg names something that can be called."""
    name, _, attribute = _cfg_lines("options.entry_points", "console_scripts")[0].partition("=")[2].partition(":")
    assert callable(getattr(importlib.import_module(name.strip()), attribute))


def test_extras_that_are_named_exist() -> None:
    """A sentence that says ``pip install ".[server, redis]"`` names extras that are there."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    texts = [path.read_text(encoding="utf-8") for path in (*MODULES.values(), *pages)]
    brackets = re.findall(r"""["'](?:\.|clef_wsgi|dist/clef_wsgi-[\w.-]+)\[([\w, -]+)\]""", "\n".join(texts))
    named = {extra.strip() for bracket in brackets for extra in bracket.split(",")}
    assert {"server", "postgresql", "redis"} <= named <= set(_setup_cfg().options("options.extras_require"))


def test_nothing_installs_from_an_index() -> None:
    """The package is on none, where somebody else could take the name: pip is given a clone, an address or a wheel."""
    by_name = re.compile(r"""pip3? install (?:-\S+ )*["']?clef[_-]wsgi(?![\w, \[\]-]* @ )""")
    assert by_name.search('pip install "clef_wsgi[server]"')
    assert by_name.search("pip install --upgrade clef-wsgi")
    found = [
        path.name
        for path in _text_files()
        if path.suffix in (".md", ".py", ".cfg", ".toml", ".yaml", "")
        and path not in (Path(__file__), ROOT / "RELEASING.md")  # the recipe's last step: then it is on one
        and by_name.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def _assigned(node: ast.AST) -> tuple[str, ast.expr | None]:
    """The name and the value of a keyword argument or of an assignment."""
    if isinstance(node, ast.keyword):
        return node.arg or "", node.value
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]), node.value
    return (ast.unparse(node.target), node.value) if isinstance(node, ast.AnnAssign) else ("", None)


def _reasons(tree: ast.Module) -> Iterator[str]:
    """The ``reason="..."`` of calls and the ``reason = "..."`` of classes."""
    for name, value in map(_assigned, ast.walk(tree)):
        if name == "reason" and isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def test_every_reason_is_documented() -> None:
    """docs/errors.md lists every error reason that the code can give."""
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")))
    given = {reason for name in MODULES for reason in _reasons(_tree(name))}
    assert "state_mismatch" in given
    assert given - documented == set()


NOT_OURS = {"build", "dist", "node_modules", "htmlcov", "sessions", "__pycache__"}
FORBIDDEN = re.compile(
    # Written so that this line does not forbid itself.
    r"py[p]i\.org|pythonhos[t]ed|npm[j]s\.|deb\.debian\.or[g]|/roo[t]/|/wor[k]/|/hom[e]/\w|/tmp/bas[h]"
)


def _text_files() -> Iterator[Path]:
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in NOT_OURS and _is_ours(name)]
        yield from (Path(folder, name) for name in names)


def _is_ours(folder: str) -> bool:
    return folder == ".ci" or not (folder.startswith(".") or folder.endswith(".egg-info"))


def test_no_file_names_a_machine() -> None:
    """No registry host and no path of someone's machine stands in any file."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in _text_files()
        for match in FORBIDDEN.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


SHORTCUT = re.compile(
    r"(from|import) (unittest\.)?mock\b|from unittest import .*\bmock\b|from time import .*\bsleep\b"
    r"|(unittest\.)?mock\.patch\b|(time\.)?sleep\("
)
"""Patching, and waiting for luck."""


SUSPECT = re.compile(r"\bmock\b|sleep")
"""A quick filter: SHORTCUT matches only in texts that this matches, so only those are parsed."""


def _shortcuts(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if SUSPECT.search(text) else ():
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call) and SHORTCUT.match(ast.unparse(node)):
            yield f"{path.name}: {ast.unparse(node)}"


def test_tests_neither_patch_nor_sleep() -> None:
    """The tests use the front door and hand-written fakes, and never wait for luck."""
    assert [use for path in sorted(TESTS.rglob("*.py")) for use in _shortcuts(path)] == []


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _length(function: Function) -> int:
    """Return the number of lines of a function from ``def`` to its end, without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


NO_CODE = (COMMENT, NL, NEWLINE, INDENT, DEDENT, ENDMARKER)


def _code_lines(module: str) -> int:
    """Count the lines with code on them: not blank ones, comments and docstrings."""
    with MODULES[module].open(encoding="utf-8") as source:
        tokens = [token for token in generate_tokens(source.readline) if token.type not in NO_CODE]
    texts = [node.value for node in ast.walk(_tree(module)) if isinstance(node, ast.Expr)]
    prose = {line for text in texts if isinstance(text, ast.Constant) for line in _span(text)}
    return len({line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - prose)


def _span(node: ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


SETTINGS = {name for name in CORE if name.split(".")[0] == "settings"}
SHARED_STORES = {f"stores.{name}" for name in ("redis", "cached", "keys", "sql", "psycopg_timeouts")}
SHARED_STORES |= {name for name in CORE if "sql_" in name}
OIDC = {name for name in CORE if name.startswith("providers.oidc") or name == "providers.renewal"}
PROTOCOL = {f"providers.oidc.{name}" for name in ("metadata", "keys", "client_authentication", "tokens", "provider")}


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        (CORE - SETTINGS - SHARED_STORES - OIDC, 4_000),
        (SHARED_STORES, 850),
        (SETTINGS, 400),
        (OIDC - PROTOCOL, 520),
        (PROTOCOL, 750),
    ],
    ids=[
        "what every site runs",
        "the stores for several machines",
        "settings as text",
        "OpenID Connect, around the protocol",
        "OpenID Connect",
    ],
)
def test_core_stays_small(what: set[str], limit: int) -> None:
    """Lines of code, and 8 for the median function: limits to lower, not to raise."""
    lengths = [_length(node) for name in what for node in ast.walk(_tree(name)) if isinstance(node, Function)]
    lines = sum(map(_code_lines, what))
    print(f"{lines} lines of code, {len(lengths)} functions, median {statistics.median(lengths)}")
    assert lines <= limit
    assert statistics.median(lengths) <= 8


def test_no_file_of_openid_connect_is_long() -> None:
    """At most 200 lines of code each: one part of the standards a file."""
    assert {name: lines for name in OIDC if (lines := _code_lines(name)) > 200} == {}


def test_a_missing_component_fails_where_none_may_be_missing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ``CLEF_REQUIRE_SERVICES=1`` a test skipped for want of something fails; a case that does not apply, not."""
    monkeypatch.setenv("CLEF_REQUIRE_SERVICES", "1")
    pytester.makeconftest((TESTS / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        import pytest
        def test_browser(): pytest.skip("Chromium is missing: install it.")
        def test_case(): pytest.skip("does not apply")
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(failed=1, skipped=1)
