"""The texts for visitors: each sentence exists in each language, and the browser's language is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from support.cases import each
from support.login_server import Server, make_server

import clef_wsgi.server
from clef_wsgi.server.delivery import failures
from clef_wsgi.server.texts import LANGUAGES, text
from clef_wsgi.server.texts.de import TEXTS as GERMAN
from clef_wsgi.server.texts.en import TEXTS as ENGLISH

HOME = Path(clef_wsgi.server.__file__).parent
PAGES = sorted((HOME / "templates").glob("*.html"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db", name="Ünser <Haus>")
    yield server
    server.close()


def blanks(sentence: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}


def test_the_catalogues_are_equal() -> None:
    """Both languages have the same sentences, with the same blanks, none empty."""
    assert {key: blanks(value) for key, value in ENGLISH.items()} == {k: blanks(v) for k, v in GERMAN.items()}
    assert all(value.strip() for value in (*ENGLISH.values(), *GERMAN.values()))


def test_every_sentence_is_used_and_there() -> None:
    """The catalogue holds exactly the keys that pages and errors use."""
    source = "".join(path.read_text(encoding="utf-8") for path in [*PAGES, *HOME.rglob("*.py")])
    used = set(re.findall(r'\bt\("([a-z_.]+)"', source))
    errors = set(re.findall(r'PageError\(\s*"(\w+)"', source)) | set(re.findall(r'\d{3}: "(\w+)"', source))
    errors |= {"unexpected"}
    used |= {f"error.{key}.{part}" for key in errors for part in ("title", "text")}
    used |= {f"error.{key}.way" for key in re.findall(r'PageError\(\s*"(\w+)", 403, way=', source)}
    used |= {f"button.{kind}" for kind in ("login", "register", "connect")}
    used |= {f"failure_{code}" for code in failures.CODES}
    assert used == set(ENGLISH)


@each(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT,en;q=0.5", "de"),
        ("en-GB", "en"),
        ("fr, de;q=0.8, en;q=0.3", "de"),
        ("fr", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_the_browser_s(server: Server, accepted: str, language: str) -> None:
    """``Accept-Language`` decides; English where nothing fits. Refusals for scripts, too."""
    page = server.browser().get("/", headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in page.text
    assert text(language, "sign_in.button") in page.text
    answer = server.browser().get("/nowhere", headers={"Accept-Language": accepted, "Accept": "application/json"})
    assert answer.json["message"] == text(language, "error.not_found.text")
    assert set(LANGUAGES) == {"en", "de"}


def test_one_word_for_the_way_out() -> None:
    """It is called to log out, and nothing else."""
    assert [key for key, value in ENGLISH.items() if re.search(r"sign(ed|ing)?.out", value, re.IGNORECASE)] == []


def test_no_page_has_anything_inline() -> None:
    """No script, style or handler stands in a page: the policy would not run it."""
    for path in PAGES:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", source), path.name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source)), path.name


def test_names_are_text(server: Server) -> None:
    """The server's name is text on every page and in the button's script."""
    assert "Ünser &lt;Haus&gt;" in server.browser().get("/").text
    assert "<Haus>" not in server.browser().get("/v3/clef.js").text
