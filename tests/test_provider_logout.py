"""The provider's own logout: where it may be ended, the page that leads there, the way back, and what stays for it."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from support.app import BASE_URL, SAME_ORIGIN, Environ, FakeProvider, ask, browser, echo, make_app

from clef_wsgi import MemoryLogoutStore, ProviderUnavailable, StoreUnavailable
from clef_wsgi.beaker.pruning import Ages, _old, prune_files
from clef_wsgi.interfaces import Identity

LOGOUT = "/clef/logout"
SCRIPT = {**SAME_ORIGIN, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
TOKEN = {"id_token": "a-token"}


class EndingProvider(FakeProvider):
    """A provider that has a session of its own, which a browser may end. ``ends`` holds the arguments of every call."""

    address: str | None = "https://login.example.net/logout"

    def __init__(self, state: Mapping[str, Any] = TOKEN) -> None:
        super().__init__()
        self.state = state
        self.ends: list[tuple[dict[str, Any], str, str]] = []

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        found = super().finish_login(query, provider_state, redirect_url)
        return Identity(found.user, found.keys, self.state)

    def end_login(self, provider_state: Mapping[str, Any], return_url: str, state: str) -> str | None:
        self.ends.append((dict(provider_state), return_url, state))
        self._raise()
        return self.address and f"{self.address}?{urlencode({'state': state})}"


def packed(address: str) -> str:
    return "o." + base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")


@pytest.fixture(params=["memory", "file"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"type": request.param, **({"data_dir": str(tmp_path)} if request.param == "file" else {})}


def test_a_page_leads_to_the_providers_logout(session: dict[str, Any]) -> None:
    """The login is over first; then a page with Refresh, since a form's redirect to another origin is blocked."""
    provider = EndingProvider()
    ann = browser(make_app(provider=provider, session=session))
    ann.sign_in("ann")
    page = ann.post(LOGOUT, {"next": "/bye?a=1"}, headers=SAME_ORIGIN, status=200)
    url = f"https://login.example.net/logout?{urlencode({'state': packed('/bye?a=1')})}"
    assert provider.ends == [(TOKEN, f"{BASE_URL}{LOGOUT}", packed("/bye?a=1"))]
    assert page.headers["Refresh"] == f"0; url={url}"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.html.h1.text == "You are logged out of this site"
    links = {link.text: link["href"] for link in page.html.find_all("a")}
    assert links == {"Log out at login.example.net, too": url, "Stay logged in there": "/bye?a=1"}
    assert ann.user is None


def test_a_script_gets_the_address(session: dict[str, Any]) -> None:
    """200 JSON with ``end_url``; null where there is none."""
    provider = EndingProvider()
    ann = browser(make_app(provider=provider, session=session))
    ann.sign_in("ann")
    answer = ann.post(LOGOUT, headers=SCRIPT, status=200).json
    assert answer == {
        "success": True,
        "end_url": f"https://login.example.net/logout?{urlencode({'state': packed('/')})}",
    }
    provider.address = None
    ann.sign_in("ann")
    assert ann.post(LOGOUT, headers=SCRIPT, status=200).json == {"success": True, "end_url": None}


@pytest.mark.parametrize(
    "address", [None, "javascript:alert(1)", "/logout", "https://login.example.net/ü", "https://x/\r\nA: b"]
)
def test_without_an_address_the_answer_is_a_redirect(address: str | None) -> None:
    """No ``end_session_endpoint``, or one that no header can carry: logged out here, and on to ``next``."""
    provider = EndingProvider()
    provider.address = address
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    assert ann.post(LOGOUT, {"next": "/bye"}, headers=SAME_ORIGIN, status=303).location == f"{BASE_URL}/bye"
    assert ann.user is None


def test_a_provider_that_cannot_be_asked_holds_up_no_logout() -> None:
    """ProviderUnavailable: logged out here all the same."""
    provider = EndingProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    provider.raises = ProviderUnavailable()
    assert ann.sign_out(status=303).location == f"{BASE_URL}/"
    assert ann.user is None


def test_nobody_signed_in_and_no_record() -> None:
    """Nobody signed in: as ever. The record can't be written: 503, the login lives, the provider is not asked."""

    class Broken(MemoryLogoutStore):
        is_broken = False

        def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
            if self.is_broken:
                raise StoreUnavailable
            return super().record_logout(keys, idempotency_key=idempotency_key)

    provider, store = EndingProvider(), Broken()
    app = make_app(provider=provider, store=store)
    assert browser(app).sign_out(status=303).location == f"{BASE_URL}/"
    ann = browser(app)
    ann.sign_in("ann")
    store.is_broken = True
    ann.sign_out(status=503)
    assert provider.ends == []
    assert ann.user is not None


BACK = {
    packed("/bye?a=1"): "/bye?a=1",
    packed("https://evil.example/"): "/",
    packed("//evil.example"): "/",
    packed("/clef/login"): "/",
    packed(""): "/",
    "o.": "/",
    "o.%%%": "/",
    "r.abc": "/",
    "abc." + packed("/bye")[2:]: "/",
    "": "/",
}


@pytest.mark.parametrize(("state", "path"), BACK.items())
@pytest.mark.parametrize("signed_in", [False, True])
def test_the_way_back(state: str, path: str, signed_in: bool) -> None:
    """GET with ``state``: 303 to the address in it, judged again; nothing is kept for it, nobody is logged out."""
    ann = browser(make_app(provider=EndingProvider()))
    if signed_in:
        ann.sign_in("ann")
    assert ann.get(f"{LOGOUT}?{urlencode({'state': state})}", status=303).location == BASE_URL + path
    assert (ann.user is not None) == signed_in


def test_get_without_a_state() -> None:
    """To the front page where nobody is signed in, since some providers return no state; else 405 with a form."""
    ann = browser(make_app(provider=EndingProvider()))
    assert ann.get(LOGOUT, status=303).location == f"{BASE_URL}/"
    assert ann.get(f"{LOGOUT}?state=a&state=b", status=303).location == f"{BASE_URL}/"
    ann.sign_in("ann")
    assert ann.get(LOGOUT, status=405).form.method == "post"


def test_a_callback_refuses_the_state_of_a_logout() -> None:
    """A state that begins with ``o.`` starts no login over."""
    provider = EndingProvider()
    ann = browser(make_app(provider=provider))
    ann.start_login()
    assert (
        ann.come_back(packed("/"), status=400, headers={"Accept": "application/json"}).json["error"] == "state_mismatch"
    )
    assert provider.finishes == []


def test_end_url_before_and_after_the_end() -> None:
    """``clef.login.end_url(next)`` answers before and after ``.end()`` of one request; None for nobody."""
    seen: list[str | None] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        login = environ["clef.login"]
        if environ["PATH_INFO"] == "/leave":
            seen.append(login.end_url("/bye"))
            login.end()
            seen.append(login.end_url("/bye"))
            assert environ["clef.user"] is None
        else:
            seen.append(login.end_url())
        return echo(environ, start_response)

    ann = browser(make_app(app, provider=EndingProvider()))
    ann.get("/")
    ann.sign_in("ann")
    ann.get("/leave")
    ann.get("/")
    url = f"https://login.example.net/logout?{urlencode({'state': packed('/bye')})}"
    assert seen == [None, url, url, None]


class _FallibleStore(MemoryLogoutStore):
    """A store that can't be asked while ``is_down``."""

    is_down = False

    def newest_logout(self, keys: Iterable[str]) -> int:
        if self.is_down:
            raise StoreUnavailable
        return super().newest_logout(keys)


@pytest.mark.parametrize("fails_in_the_app", [True, False])
def test_no_end_url_while_logins_cannot_be_checked(fails_in_the_app: bool) -> None:
    """None, and no exception in the page's template, in the app as at a request that went on without its login."""
    store, seen = _FallibleStore(), list[str | None]()

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        store.is_down = True
        seen.append(environ["clef.login"].end_url())
        return echo(environ, start_response)

    ann = browser(make_app(app, provider=EndingProvider(), store=store, store_failure="anonymous"))
    ann.sign_in("ann")
    store.is_down = not fails_in_the_app
    ann.get("/")
    assert seen == [None]


def test_other_providers_have_no_end_url() -> None:
    """A provider without ``end_login``: None, and the answer to a logout as ever."""
    seen: list[str | None] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(environ["clef.login"].end_url())
        return echo(environ, start_response)

    ann = browser(make_app(app))
    ann.sign_in("ann")
    ann.get("/")
    assert seen == [None]
    ann.post(LOGOUT, headers=SCRIPT, status=303)


def test_the_state_is_never_shown_to_the_app(session: dict[str, Any]) -> None:
    """It is in neither ``clef.user`` nor the session; a request's record does not grow by it."""
    big = {"id_token": "x" * 3000}
    seen: list[str] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(json.dumps([environ["clef.user"], dict(environ["beaker.session"])]))
        return echo(environ, start_response)

    provider = EndingProvider(big)
    ann = browser(make_app(app, provider=provider, session=session))
    ann.sign_in("ann")
    ann.get("/")
    assert "xxx" not in seen[0]
    ann.sign_out(status=200)
    assert provider.ends[0][0] == big


def test_the_state_ends_with_the_login(tmp_path: Path) -> None:
    """Removed at a logout, found or made, and at a new login; what is left is pruned; losing it ends nothing."""
    provider = EndingProvider({"id_token": "secret-token"})
    app = make_app(provider=provider, session={"type": "file", "data_dir": str(tmp_path)})

    def kept() -> list[Path]:
        return [path for path in tmp_path.rglob("*.cache") if b"provider_state" in path.read_bytes()]

    ann = browser(app)
    ann.sign_in("ann")
    assert len(kept()) == 1
    ann.sign_in("ann")
    assert len(kept()) == 1
    ann.sign_out()
    assert kept() == []
    ann.sign_in("ann")
    ann.notify(provider.logout_token("ann"), status=200)
    assert ann.user is None
    assert kept() == []
    ann.sign_in("ann")
    ages = Ages.of({}, max_login_age=10, state_lifetime=10, entry="")
    (file,) = kept()
    assert prune_files({"data_dir": str(tmp_path)}, ages).total() == 0
    os.utime(file, (time.time() - 3 * 86400,) * 2)
    assert prune_files({"data_dir": str(tmp_path)}, ages)["provider_state"] == 1
    assert kept() == []
    assert ann.get("/").json["user"]["id"] == "ann"
    ann.sign_out(status=200)
    assert provider.ends[-1][0] == {}


def test_pruning_goes_on_where_a_file_went_meanwhile(tmp_path: Path) -> None:
    """What another process removed since the folder was listed is passed over."""
    folder = tmp_path / "a" / "ab"
    folder.mkdir(parents=True)
    for name in ("ab1", "ab2", "ab3"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    found = _old(tmp_path, re.compile("ab[0-9]"), 60)
    first = next(found)
    for path in {*folder.iterdir()} - {first}:
        path.unlink()
    assert list(found) == []


def test_an_empty_state_is_not_kept(tmp_path: Path) -> None:
    """A login without anything to remember makes no record, and its logout asks the provider without it."""
    provider = EndingProvider({})
    ann = browser(make_app(provider=provider, session={"type": "file", "data_dir": str(tmp_path)}))
    ann.sign_in("ann")
    assert not [path for path in tmp_path.rglob("*.cache") if b"provider_state" in path.read_bytes()]
    ann.sign_out(status=200)
    assert provider.ends[-1][0] == {}


def test_an_undecodable_state_is_none(tmp_path: Path) -> None:
    """Garbage beside the session: the provider is asked without it."""
    provider = EndingProvider()
    app = make_app(provider=provider, session={"type": "file", "data_dir": str(tmp_path)})
    ann = browser(app)
    ann.sign_in("ann")
    (file,) = [path for path in tmp_path.rglob("*.cache") if b"provider_state" in path.read_bytes()]
    file.write_bytes(b"garbage")
    ann.sign_out(status=200)
    assert provider.ends[-1][0] == {}


def test_a_script_of_another_origin_ends_nothing() -> None:
    """Same-origin rule as ever; the provider is not asked."""
    provider = EndingProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    ann.sign_in("ann")
    assert (
        ask(
            app, LOGOUT, method="POST", HTTP_COOKIE=ann.cookie, HTTP_SEC_FETCH_SITE="cross-site", CONTENT_LENGTH="0"
        ).status
        == 403
    )
    assert provider.ends == []
    assert ann.user is not None


def test_the_query_of_the_state_survives() -> None:
    """Query fields that the provider sends beside ``state`` change nothing."""
    ann = browser(make_app(provider=EndingProvider()))
    query = urlencode({"state": packed("/a?next=%2Fb"), "next": "https://evil.example"})
    location = ann.get(f"{LOGOUT}?{query}", status=303).location
    assert urlsplit(location).path == "/a"
    assert parse_qs(urlsplit(location).query) == {"next": ["/b"]}
