"""The middleware's own pages in the visitor's language; buttons in the site's; JSON and logs in English."""

from __future__ import annotations

import ast
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support.app import Environ, FakeProvider, browser, echo, make_app

import clef_wsgi
from clef_wsgi import ConfigurationError, LoginRefused, ProviderUnavailable
from clef_wsgi.texts import LANGUAGES, wanted_language
from clef_wsgi.texts.de import TEXTS as DE
from clef_wsgi.texts.en import TEXTS as EN

PACKAGE = Path(clef_wsgi.__file__).parent
GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}
CALLBACK = "/clef/callback?code=x&state=unknown"

WANTED = {
    None: "en",
    "": "en",
    "de": "de",
    "de-CH": "de",
    "DE": "de",
    "fr, de;q=0.3": "de",
    "en;q=0.3, de;q=0.7": "de",
    "de;q=0, en": "en",
    "*": "en",
    "fr": "en",
    "de;q=nonsense": "en",
    ";;;,": "en",
    "de" * 4000: "en",
}


@pytest.mark.parametrize(("header", "language"), WANTED.items(), ids=lambda text: str(text)[:20])
def test_the_visitors_language(header: str | None, language: str) -> None:
    """By ``Accept-Language`` and its weights; English where none fits, or the header is garbled."""
    assert wanted_language(header) == language


def test_the_catalogues_have_equal_keys_and_fields() -> None:
    """One more language is one more file with the same keys."""
    assert EN.keys() == DE.keys()
    assert LANGUAGES == ("en", "de")
    for key, sentence in EN.items():
        fields = [{name for _, name, _, _ in string.Formatter().parse(text)} - {None} for text in (sentence, DE[key])]
        assert fields[0] == fields[1], key
        assert DE[key].strip()
    assert len(set(EN.values())) >= len(EN) - 4  # a sentence finds its key again


def test_a_page_in_german() -> None:
    """``lang``, ``Content-Language`` and ``Vary`` say so; title, sentence, links and reference are German."""
    page = browser(make_app()).get(CALLBACK, headers=GERMAN, status=400)
    assert page.html.html["lang"] == page.headers["Content-Language"] == "de"
    assert page.headers["Vary"] == "Accept-Language, Cookie"
    assert page.html.h1.text == DE["title.400"]
    assert DE["state_mismatch"] in page.html.main.text
    assert [link.text for link in page.html.find_all("a")] == [DE["retry"], DE["home"]]
    assert "Kennung: " in page.html.small.text


def test_json_and_the_log_stay_english(caplog: pytest.LogCaptureFixture) -> None:
    """Messages for machines and operators stay in English."""
    headers = {**GERMAN, "Accept": "application/json"}
    answer = browser(make_app()).get(CALLBACK, headers=headers, status=400)
    assert answer.json["message"] == EN["state_mismatch"]
    assert EN["state_mismatch"] in caplog.text


@pytest.mark.parametrize("reason", [None, "not_a_member", "state_expired"])
def test_a_sentence_of_the_sites_own_passes_as_it_is(reason: str | None) -> None:
    """Whatever its reason is."""

    def on_login(environ: Environ, user: dict[str, Any]) -> None:
        raise LoginRefused("Members only.", reason=reason)

    ann = browser(make_app(on_login=on_login))
    page = ann.come_back(ann.start_login(), headers=GERMAN, status=400)
    assert "Members only." in page.html.main.text
    assert page.html.h1.text == DE["title.400"]


def test_the_question_before_a_logout() -> None:
    """GET of the logout path: question and button in the page's language."""
    ann = browser(make_app())
    ann.sign_in("ann")
    page = ann.get("/clef/logout", headers=GERMAN, status=405)
    assert (page.html.h1.text, page.html.button.text) == ("Abmelden?", "Abmelden")


@pytest.mark.parametrize(("language", "words"), [(None, ("Log in", "Log out")), ("de", ("Anmelden", "Abmelden"))])
def test_buttons_speak_the_sites_language(language: str | None, words: tuple[str, str]) -> None:
    """They stand in the app's page, and in its cache: the visitor's header does not count."""
    seen: list[str] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        login = environ["clef.login"]
        seen.extend([login.button("/"), login.sign_out_button("/"), login.button("/", label="Hinein")])
        return echo(environ, start_response)

    site = browser(make_app(app, language=language))
    site.get("/", headers={"Accept-Language": "de" if language is None else "en"})
    assert f">{words[0]}<" in seen[0]
    assert f">{words[1]}<" in seen[1]
    assert ">Hinein<" in seen[2]


def test_a_fixed_language() -> None:
    """``language="de"``: pages, too, whatever the browser asks for. An unknown one is refused."""
    page = browser(make_app(language="de")).get(CALLBACK, headers={"Accept-Language": "en"}, status=400)
    assert page.html.html["lang"] == "de"
    with pytest.raises(ConfigurationError, match="language must be 'en' or 'de'"):
        make_app(language="fr")


def test_a_site_that_is_not_set_up_right() -> None:
    """A wrong secret: the page mentions neither app_secret nor another try; the log does (row 5)."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    states = [ann.start_login() for _ in range(2)]
    sentence = "The login service does not accept this site's app_id and app_secret."
    provider.raises = ProviderUnavailable(sentence, reason="provider_refused_app")
    page = ann.come_back(states[0], status=503)
    assert page.html.h1.text == EN["title.operators"]
    assert [link.text for link in page.html.find_all("a")] == [EN["home"]]
    answer = ann.come_back(states[1], status=503, headers={"Accept": "application/json"})
    for text in (page.text, answer.text):
        assert "app_secret" not in text
        assert "again" not in text


def test_every_sentence_of_a_login_has_its_translation() -> None:
    """Each message with a reason is in the catalogues, unless it is for machines or operators alone."""
    elsewhere = {"token_not_signed", "webhook_busy", "provider_answer", "provider_refused_app", "userinfo_signed"}
    elsewhere |= {"provider_keys", "issuer_mismatch", "provider_metadata"}
    missing = [
        (path.name, reason, sentence)
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("server", "testing", "demo", "check")
        for reason, sentence in _said(ast.parse(path.read_text(encoding="utf-8")))
        if sentence not in EN.values() and reason not in elsewhere
    ]
    assert missing == []


def _said(tree: ast.Module) -> Iterable[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found = {
                ast.unparse(line.targets[0] if isinstance(line, ast.Assign) else line.target): line.value
                for line in node.body
                if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Constant)
            }
            if "reason" in found and "message" in found:
                yield str(found["reason"].value), str(found["message"].value)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            reasons = [k.value.value for k in node.keywords if k.arg == "reason" and isinstance(k.value, ast.Constant)]
            if reasons and ast.unparse(node.func) in dir(clef_wsgi):
                yield str(reasons[0]), str(node.args[0].value)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_REFUSALS":
            yield from ((r, s) for r, s in ast.literal_eval(node.value).items() if not r.startswith("token_"))
