"""Hints for a login, step-up, third-party login, and the way on for somebody with the wrong account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from support.app import BASE_URL, NOON, Environ, FakeClock, FakeProvider, browser, echo, make_app

from clef_wsgi import LoginRefused
from clef_wsgi.interfaces import Identity, LoginStart

JSON = {"Accept": "application/json"}


class HintedProvider(FakeProvider):
    """A provider that takes hints; ``hints`` holds those of every start."""

    default_login_age = timedelta(hours=12)

    def __init__(self) -> None:
        super().__init__()
        self.hints: list[dict[str, Any]] = []

    def start_login(self, state: str, redirect_url: str, *, hints: Mapping[str, Any]) -> LoginStart:  # type: ignore[override]
        self.hints.append(dict(hints))
        return super().start_login(state, redirect_url)


READ = {
    "prompt=login": {"prompt": "login"},
    "prompt=select_account": {"prompt": "select_account"},
    "prompt=none": {},
    "prompt=login&prompt=login": {},
    "prompt=login+select_account": {},
    "login_hint=ann@example.org": {"login_hint": "ann@example.org"},
    "login_hint=": {},
    "login_hint=" + "x" * 255: {"login_hint": "x" * 255},
    "login_hint=" + "x" * 256: {},
    "login_hint=a%0Ab": {},
    "max_age=0": {"max_age": 0},
    "max_age=300": {"max_age": 300},
    "max_age=-1": {},
    "max_age=1.5": {},
    "max_age=%D9%A3": {},
    "max_age=9999999999": {},
    "max_age=": {},
    "scope=admin&acr_values=x": {},
}


@pytest.mark.parametrize(("query", "hints"), READ.items())
def test_hints_come_from_the_login_paths_query(query: str, hints: dict[str, Any]) -> None:
    """Known ones alone, once each: what is not understood is left out."""
    provider = HintedProvider()
    browser(make_app(provider=provider)).get(f"/clef/login?{query}", status=303)
    assert provider.hints == [hints]


def test_a_provider_without_hints_is_called_without() -> None:
    """A provider without hints is called without them."""
    provider = FakeProvider()
    browser(make_app(provider=provider)).get("/clef/login?prompt=login", status=303)
    assert len(provider.starts) == 1


class Compiled:
    """A function that does not tell its parameters, as one written in C need not."""

    __signature__ = "unknown"

    def __init__(self, call: Callable[[str, str], LoginStart]) -> None:
        self._call = call

    def __call__(self, state: str, redirect_url: str) -> LoginStart:
        return self._call(state, redirect_url)


def test_a_provider_that_does_not_tell_its_parameters() -> None:
    """Whether it takes hints can't be seen: it is called without them."""
    provider = FakeProvider()
    vars(provider)["start_login"] = Compiled(provider.start_login)
    browser(make_app(provider=provider)).get("/clef/login?prompt=login", status=303)
    assert len(provider.starts) == 1


def test_url_writes_them() -> None:
    """``clef.login.url(next, prompt=, max_age=)``; what the query can't say is refused."""
    seen: list[str] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        login = environ["clef.login"]
        seen.append(login.url("/a b", prompt="login", max_age=60))
        for wrong in ({"prompt": "none"}, {"max_age": -1}, {"max_age": 1.5}, {"max_age": True}):
            with pytest.raises(ValueError, match="must be"):
                login.url("/", **wrong)
        return echo(environ, start_response)

    browser(make_app(app)).get("/")
    assert seen == [f"{BASE_URL}/clef/login?next=/a%20b&prompt=login&max_age=60"]


def test_authenticated_at_is_the_providers_or_the_moment_of_the_callback() -> None:
    """``clef.user["authenticated_at"]``: for step-up an app compares it."""
    provider, clock = FakeProvider(), FakeClock()
    ann = browser(make_app(provider=provider, clock=clock))
    ann.sign_in("ann")
    assert ann.user["authenticated_at"] == ann.user["logged_in_at"] == NOON
    provider.identity = Identity({"id": "ann", "authenticated_at": NOON - 500.0})
    clock.advance(10)
    ann.sign_in("ann")
    assert (ann.user["authenticated_at"], ann.user["logged_in_at"]) == (NOON - 500, NOON + 10)


def test_the_login_of_a_third_party() -> None:
    """``iss`` has to be ours; ``target_link_uri`` is judged as ``next`` is (OpenID Connect Core 1.0, section 4)."""
    provider = HintedProvider()
    ann = browser(make_app(provider=provider))

    def ends_at(**query: str) -> str:
        state = ann.get(f"/clef/login?{urlencode(query)}", status=303).location.partition("state=")[2].partition("&")[0]
        return str(ann.come_back(state, status=303).location)

    issuer = provider.issuer
    assert ends_at(iss=issuer, target_link_uri=f"{BASE_URL}/page?a=1") == f"{BASE_URL}/page?a=1"
    assert ends_at(iss=issuer, login_hint="ann") == f"{BASE_URL}/"
    for uri in ("https://evil.example/", f"{BASE_URL}.evil.example/", f"{BASE_URL}//evil.example", "/page", "//x"):
        assert ends_at(iss=issuer, target_link_uri=uri) == f"{BASE_URL}/"
    assert ends_at(target_link_uri=f"{BASE_URL}/page") == f"{BASE_URL}/"
    starts = len(provider.starts)
    for query in (f"iss={issuer}x", f"iss={issuer}&iss={issuer}", "iss="):
        assert ann.get(f"/clef/login?{query}", status=400, headers=JSON).json["error"] == "wrong_issuer"
    assert len(provider.starts) == starts


def _no_members(environ: Environ, user: dict[str, Any]) -> None:
    raise LoginRefused("Members only.", reason="not_a_member", status=403)


def test_a_wrong_account_is_no_dead_end() -> None:
    """The page names site and account, and its button asks the provider for another account."""
    provider = HintedProvider()
    ann = browser(make_app(provider=provider, on_login=_no_members))
    page = ann.come_back(ann.start_login("/club"), "ann<b>", status=403)
    assert "www.example.com" in page.html.main.text
    assert "ann<b>@example.org" in page.html.main.text
    (button,) = [link for link in page.html.find_all("a") if link.text == "Use another account"]
    assert button["href"] == f"{BASE_URL}/clef/login?next=/club&prompt=select_account"


class _Banned(LoginRefused):
    """An app's own refusal, with another constructor."""

    def __init__(self) -> None:
        super().__init__("You were banned.", reason="banned", status=403)


@pytest.mark.parametrize("refusal", [LoginRefused("Members only.", reason="not_a_member", status=403), _Banned()])
def test_a_refusal_that_an_app_raises_for_everybody_names_nobody_else(refusal: LoginRefused) -> None:
    """One instance for all logins: each page names its own visitor, and the app's instance stays as it was."""
    seen: list[Any] = []

    def refuse(environ: Environ, user: dict[str, Any]) -> None:
        raise refusal

    def page(environ: Environ, error: Any) -> Any:
        seen.append(error)

    app = make_app(provider=HintedProvider(), on_login=refuse, on_refusal=page)
    for person in ("ann", "bo"):
        visitor = browser(app)
        shown = visitor.come_back(visitor.start_login("/club"), person, status=403).html.main.text
        assert [name for name in ("ann@", "bo@") if name in shown] == [f"{person}@"]
    assert [type(error) for error in seen] == [type(refusal)] * 2
    assert not hasattr(refusal, "account")


def test_without_hints_there_is_only_another_try() -> None:
    """A provider that can't choose accounts: the button is what it was."""
    ann = browser(make_app(on_login=_no_members))
    page = ann.come_back(ann.start_login(), "ann", status=403)
    assert [link.text for link in page.html.find_all("a")] == ["Try again", "To the front page"]


@pytest.mark.parametrize(
    "error", ["login_required", "interaction_required", "consent_required", "account_selection_required"]
)
def test_errors_with_a_reason_of_their_own(error: str) -> None:
    """OpenID Connect Core 1.0, section 3.1.2.6."""
    ann = browser(make_app())
    answer = ann.get(f"/clef/callback?error={error}&state={ann.start_login()}", status=400, headers=JSON)
    assert answer.json["error"] == error


def test_a_provider_may_read_errors_itself() -> None:
    """``reads_errors``: an error comes from whoever sends the browser, so a provider may want to prove it first."""
    provider = FakeProvider()
    provider.reads_errors = True  # type: ignore[attr-defined]
    ann = browser(make_app(provider=provider))
    state, provider.raises = ann.start_login(), LoginRefused(reason="wrong_issuer")
    answer = ann.get(f"/clef/callback?error=access_denied&state={state}", status=400, headers=JSON)
    assert answer.json["error"] == "wrong_issuer"


def test_the_providers_own_login_age() -> None:
    """``default_login_age`` in place of 30 days; an option of the site's own wins, also one of 30 days."""
    clock = FakeClock()
    for options, hours in (({}, 12), ({"max_login_age": timedelta(days=30)}, 720), ({"max_login_age": 60}, 1 / 60)):
        ann = browser(make_app(provider=HintedProvider(), clock=clock, **options))
        ann.sign_in("ann")
        clock.advance(hours * 3600 - 1)
        assert ann.user is not None
        clock.advance(1)
        assert ann.user is None


def test_a_longer_logout_token() -> None:
    """``max_logout_token_length``: signed tokens are longer than Clef's; beyond it nobody is asked."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.post("/clef/webhook", {"logout_token": "a" * 2040 + ".1234567"}, status=200)
    ann.post("/clef/webhook", {"logout_token": "a" * 2041 + ".1234567"}, status=400)
    provider.max_logout_token_length = 3000  # type: ignore[attr-defined]
    ann.post("/clef/webhook", {"logout_token": "a" * 2991 + ".1234567"}, status=200)
    ann.post("/clef/webhook", {"logout_token": "a" * 2993 + ".1234567"}, status=400)
