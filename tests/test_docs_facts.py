"""README.md and docs/: each table, count, link and picture says what the code does, or leads somewhere."""

from __future__ import annotations

import ast
import inspect
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import webtest
from support import doc_runner
from support.cases import each
from support.doc_runner import BLOCKS, BY_NAME, PAGES, ROOT, name_of
from support.docs_app import BASE_URL, SECRET, SERVER_URL, my_app, settings, visitor

import clef_wsgi
from clef_wsgi import testing

OPTIONS, ERRORS = ROOT / "docs" / "options.md", ROOT / "docs" / "errors.md"
PACKAGE = Path(clef_wsgi.__file__).parent


def _table(page: Path, heading: str, number: int = 0) -> list[list[str]]:
    return [rows for title, rows in doc_runner.tables(page) if title == heading][number]


def _code(cell: str) -> str:
    return cell.strip("`")


def _written(default: Any) -> str:
    """A default, as the options page writes it."""
    if default is inspect.Parameter.empty:
        return "required"
    if default is None:
        return "none"
    if default in (time.time, time.monotonic):
        return f"`time.{default.__name__}`"
    if isinstance(default, timedelta):
        days, hours = default.days, default.seconds // 3600
        return f"{days} days" if days else f"{hours} hour"
    if default and isinstance(default, tuple) and isinstance(default[0], testing.Person):
        *most, last = [person.first_name for person in default]
        return f"{', '.join(most)} and {last}"
    return f"`{json.dumps(default)}`" if isinstance(default, str) else f"`{default!r}`"


@each(
    ("heading", "made"),
    [
        ("wrap", clef_wsgi.wrap),
        ("ClefMiddleware", clef_wsgi.ClefMiddleware),
        ("ClefProvider", clef_wsgi.ClefProvider),
        ("MemoryLogoutStore", clef_wsgi.MemoryLogoutStore),
        ("SQLiteLogoutStore", clef_wsgi.SQLiteLogoutStore),
        ("SQLAlchemyLogoutStore", clef_wsgi.SQLAlchemyLogoutStore),
        ("RedisLogoutStore", clef_wsgi.RedisLogoutStore),
        ("CachedLogoutStore", clef_wsgi.CachedLogoutStore),
        ("LocalClef", testing.LocalClef),
    ],
)
def test_options_are_those_of_the_constructor(heading: str, made: Callable[..., Any]) -> None:
    """The options page lists each option in the constructor's order, with its default."""
    options = {
        name: _written(parameter.default)
        for name, parameter in inspect.signature(made).parameters.items()
        if name != "app" and parameter.kind is not parameter.VAR_KEYWORD
    }
    assert {_code(row[0]): row[1] for row in _table(OPTIONS, heading)} == options
    assert [_code(row[0]) for row in _table(OPTIONS, heading)] == list(options)


def test_session_options_are_listed() -> None:
    """The options page lists what session_options sets, with its values."""
    given = clef_wsgi.session_options(base_url=BASE_URL, secret=SECRET)
    listed = {_code(name): default + meaning for name, default, meaning in _table(OPTIONS, "Session")}
    del given["session.secret"], listed["secret"]
    assert {f"session.{name}" for name in listed} == given.keys()
    shown = {**given, "session.session_class": "TolerantSession", "session.cookie_expires": "30 days"}
    missing = [name for name in listed if str(shown[f"session.{name}"]) not in listed[name]]
    assert missing == []


def test_plugs_are_those_of_the_interfaces() -> None:
    """The methods of both plugs, as the page lists them, are those of the protocols."""
    page = ROOT / "docs" / "how-it-works.md"
    for number, protocol in enumerate((clef_wsgi.IdentityProvider, clef_wsgi.LogoutStore)):
        rows = _table(page, "Plugs", number)
        listed = {
            name.partition("(")[0]: re.findall(r"(\w+)(?:=None)?[,)]", name) for name in (_code(r[0]) for r in rows)
        }
        methods = {name: method for name, method in vars(protocol).items() if callable(method) and name[0] != "_"}
        assert listed == {name: list(inspect.signature(method).parameters)[1:] for name, method in methods.items()}


Reasons = dict[str, set[int]]


def _reasons() -> Reasons:
    """Every reason that the code can give, with its statuses: of classes, of calls, and of answers of providers."""
    reasons: Reasons = {}
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("testing", "demo", "server"):
            for reason, status in _reasons_in(ast.parse(path.read_text(encoding="utf-8"))):
                reasons.setdefault(reason, set()).add(status)
    return reasons


def _reasons_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_assigns_reason(line) for line in node.body):
            error = getattr(clef_wsgi, node.name)
            yield error.reason, error.status
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_SENTENCES":
            yield from ((reason, clef_wsgi.ProviderUnavailable.status) for reason in ast.literal_eval(node.value))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_REFUSALS":
            yield from ((reason, clef_wsgi.LoginRefused.status) for reason in ast.literal_eval(node.value))
        elif isinstance(node, ast.Call):
            yield from _reasons_of_call(node)


def _reasons_of_call(call: ast.Call) -> Iterator[tuple[str, int]]:
    keywords: dict[str | None, Any] = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    if "reason" in keywords:
        default = getattr(clef_wsgi, ast.unparse(call.func)).status
        yield keywords["reason"], keywords.get("status", default)
    elif ast.unparse(call.func) == "unavailable":
        reasons = [str(argument.value) for argument in call.args if isinstance(argument, ast.Constant)]
        yield from ((reason, clef_wsgi.ProviderUnavailable.status) for reason in reasons)


def _assigns_reason(line: ast.stmt) -> bool:
    return ast.unparse(line).startswith(("reason =", "reason: str ="))


def test_reasons_are_those_of_the_code() -> None:
    """docs/errors.md lists each reason that the code can give, with its status, and no other."""
    listed = {
        _code(row[0]): set(map(int, row[1].split(", "))) for n in range(5) for row in _table(ERRORS, "Reasons", n)
    }
    assert listed == _reasons()


def test_json_answers_that_are_no_errors_are_listed() -> None:
    """docs/errors.md lists the other words that a JSON answer's ``error`` can hold, with their status."""
    for word, status, _ in _table(ERRORS, "Reasons", 5):
        site = visitor(protect=["/"])
        script = {"Sec-Fetch-Mode": "cors"}
        path = {"405": "/clef/webhook", "400": "/%00"}.get(status, "/")
        assert site.get(path, headers=script, status=int(status)).json["error"] == _code(word)
    answers = {
        ast.literal_eval(value)
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "error" and isinstance(value, ast.Constant)
    }
    assert answers == {_code(row[0]) for row in _table(ERRORS, "Reasons", 5)}


def test_error_classes_are_those_of_the_package() -> None:
    """docs/errors.md lists the error tree."""
    tree = {
        name: (", ".join(f"`{base.__name__}`" for base in error.__bases__), str(error.status))
        for name, error in vars(clef_wsgi).items()
        if isinstance(error, type) and issubclass(error, clef_wsgi.ClefError)
    }
    assert {_code(name): (bases, status) for name, bases, status in _table(ERRORS, "Classes")} == tree


@each(("written", "told"), _table(ERRORS, "Configuration"))
def test_configuration_mistakes_are_told_so(written: str, told: str) -> None:
    """Each mistake of the page gets the sentence of the page."""
    names = {**vars(clef_wsgi), "secret": SECRET, "url": SERVER_URL}
    clef_wsgi.wrap(my_app, **settings())
    with pytest.raises(clef_wsgi.ConfigurationError) as refused:
        clef_wsgi.wrap(my_app, **{**settings(), **eval(f"dict({_code(written)})", names)})
    assert told in refused.value.faults


def test_first_request_tells_the_rest() -> None:
    """Faults that can't be known at construction are reported at the first request, in the page's sentences."""
    (_, no_session), (_, sessions), (_, store) = _table(ERRORS, "Configuration", 1)
    alone = webtest.TestApp(clef_wsgi.ClefMiddleware(my_app, **_without_session()))
    in_many = visitor()
    in_many.extra_environ["wsgi.multiprocess"] = True
    for site, faults in ((alone, (no_session,)), (in_many, (sessions, store))):
        with pytest.raises(clef_wsgi.ConfigurationError) as refused:
            site.get("/")
        assert refused.value.faults == faults


def _without_session() -> dict[str, Any]:
    return {name: value for name, value in settings().items() if name != "session"}


# -- the map of tests -------------------------------------------------------------------------------------


TEST_FUNCTION = re.compile(
    r'^ *def (test_\w+)\(\s*[^()]*(?:\([^()]*\)[^()]*)*\)[^:\n]*:\n(?: *"""(.*?)""")?', re.MULTILINE | re.DOTALL
)
"""The name and the docstring. A text is searched many times faster than it is parsed."""


def _cases_of_tests() -> set[str]:
    """Every case that the name or the docstring of a test names."""
    return {
        case
        for path in (ROOT / "tests").rglob("test_*.py")
        for name, docstring in TEST_FUNCTION.findall(path.read_text(encoding="utf-8"))
        for case in _cases(f"{name} {docstring}".replace("_", " "))
    }


def _cases(text: str) -> Iterator[str]:
    """``R5``, ``S9``, ``row 39``, ``rows 1 3 6``, ``rows 15 to 18``, ``rows 28, 30 and 41``."""
    yield from (f"{kind.upper()}{number}" for kind, number in re.findall(r"(?i)\b([rs])(\d{1,2})\b", text))
    for numbers in re.findall(r"(?i)\brows? (\d+(?:(?: |, | and | to )\d+)*)", text):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", numbers):
            yield from (f"row {row}" for row in range(int(first), int(last or first) + 1))


def test_cases_can_be_read() -> None:
    """Every way to name cases is understood."""
    assert set(_cases("test r4 rows 1 3 6 it")) == {"R4", "row 1", "row 3", "row 6"}
    assert set(_cases("Rows 15 to 17, S9: so")) == {"row 15", "row 16", "row 17", "S9"}
    assert set(_cases("row 5, 12 and 50; R10")) == {"row 5", "row 12", "row 50", "R10"}


def test_map_of_tests_is_complete() -> None:
    """Each case of docs/tests.md has a test, and each case that a test names is in the map."""
    assert {row[0] for _, rows in doc_runner.tables(ROOT / "docs" / "tests.md") for row in rows} == _cases_of_tests()


# -- the pages themselves ---------------------------------------------------------------------------------


@each("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file or a heading of the project leads to one."""
    for link in doc_runner.links(page):
        path, _, fragment = link.partition("#")
        if not urlsplit(link).scheme:
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), link
            assert not fragment or fragment in doc_runner.anchors(target), link


def _pages_from(page: Path) -> Iterator[Path]:
    """The project's pages that a page links."""
    targets = {(page.parent / link.partition("#")[0]).resolve() for link in doc_runner.links(page)}
    return (target for target in targets if target.suffix == ".md" and target.is_file())


def test_every_page_can_be_found() -> None:
    """Whoever follows links from README comes to each page of docs/."""
    found, new = set[Path](), {PAGES[0]}
    while new:
        found |= new
        new = {target for page in new for target in _pages_from(page)} - found
    assert {name_of(page) for page in PAGES} - {name_of(page) for page in found} == set()


def test_readme_is_short() -> None:
    """README has 50 to 120 lines, and its first program at most 12."""
    assert 50 <= len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 120
    assert len(BY_NAME["hello"].text.splitlines()) <= 12
    assert BLOCKS.index(BY_NAME["hello"]) == min(n for n, block in enumerate(BLOCKS) if block.language == "python")


def test_counts_are_counted() -> None:
    """The pages say how many lines the flow takes by hand and with this package; the numbers are the blocks'."""
    by_hand, with_us = BY_NAME["by_hand"].code_lines, BY_NAME["with_us"].code_lines
    readme, page = PAGES[0].read_text(encoding="utf-8"), (ROOT / "docs" / "by-hand.md").read_text(encoding="utf-8")
    assert re.findall(r"takes? (\d+)\s+lines; with this package (\d+)", readme) == [(str(by_hand), str(with_us))]
    assert re.findall(r"(?m)^(\d+) lines", page) == [str(by_hand), str(with_us)]


PICTURES = sorted((ROOT / "docs" / "images").glob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=name_of)
def test_pictures_can_be_read_aloud(picture: Path) -> None:
    """Each drawing is well-formed, loads nothing, has a title and a description, and a dark form."""
    text = picture.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    names = {child.tag.rpartition("}")[2]: child.text or "" for child in root}
    assert len(names["title"]) > 5
    assert len(names["desc"]) > 100
    assert root.get("role") == "img"
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"href|@import|url\(|<script", text)


def test_there_are_pictures() -> None:
    """A login and a logout are drawn."""
    assert {picture.stem for picture in PICTURES} == {"login", "logout"}


def test_each_word_of_the_glossary_is_in_the_code() -> None:
    """docs/glossary.md maps the field's words to ours: who greps for one finds the place."""
    code = "\n".join(path.read_text(encoding="utf-8").lower() for path in PACKAGE.rglob("*.py"))
    words = [row[0] for row in _table(ROOT / "docs" / "glossary.md", "Glossary")]
    assert len(words) == len(set(words)) > 25
    assert [word for word in words if word.lower() not in code] == []
