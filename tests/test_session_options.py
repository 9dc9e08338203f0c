"""Beaker's options: what is in force, what browsers get as a cookie, and what a login can't stand on."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from beaker.exceptions import MissingCacheParameter
from beaker.middleware import SessionMiddleware
from support.app import BASE_URL, SECRET, FakeProvider, ask, browser, echo, make_app
from support.cases import each

from clef_wsgi import ClefMiddleware, ConfigurationError, MemoryLogoutStore, session_options, wrap

LOOPBACK = "http://localhost:8401"
MULTIPROCESS = {"wsgi.multiprocess": True}


def effective(base_url: str = BASE_URL, **beaker: Any) -> dict[str, Any]:
    """The options in force, read back from Beaker's own middleware."""
    found: dict[str, Any] = SessionMiddleware(echo, session_options(base_url=base_url, **beaker)).options
    return found


def faults_of(call: Callable[[], Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        call()
    return caught.value.faults


def cookie_of(base_url: str = BASE_URL, **options: Any) -> Morsel[str]:
    """The one cookie that a browser gets."""
    visitor = browser(make_app(base_url=base_url, **options), base_url)
    [header] = visitor.get("/session?a=1").headers.getall("Set-Cookie")
    [cookie] = SimpleCookie(header).values()
    return cookie


# -- what is in force ---------------------------------------------------------------------------------------


def test_the_options_arrive_in_beaker() -> None:
    """Beaker silently ignores a dict without its prefix: so the defaults are read back from Beaker itself."""
    options = effective(secret=SECRET)
    expected = {
        "type": "memory",
        "secret": SECRET,
        "data_serializer": "json",
        "httponly": True,
        "secure": True,
        "samesite": "Lax",
        "cookie_expires": timedelta(days=30),
        "save_accessed_time": False,
        "invalidate_corrupt": False,
        "timeout": None,
    }
    assert {name: options[name] for name in expected} == expected
    assert options["key"].startswith("__Host-clef-www-example-com")


def test_options_given_win_whatever_their_prefix() -> None:
    """The same option may be written bare, or with Beaker's prefixes, as INI files have it."""
    given: dict[str, Any] = {
        "session.type": "file",
        "beaker.session.data_dir": "/tmp/x",
        "cookie_expires": True,
        "key": "mine",
    }
    options = effective(secret=SECRET, **given)
    assert options["type"] == "file"
    assert options["data_dir"] == "/tmp/x"
    assert options["cookie_expires"] is True
    assert options["key"] == "mine"


def test_a_data_dir_alone_means_files(tmp_path: Path) -> None:
    """``data_dir`` without a type means file sessions, as in Beaker."""
    assert effective(secret=SECRET, data_dir=str(tmp_path))["type"] == "file"


def test_wrap_hands_the_session_over_with_a_cookie_as_old_as_a_login(tmp_path: Path) -> None:
    """The cookie lives as long as a login can, unless an option sets another age."""

    def wrapped(**session: Any) -> Any:
        return wrap(
            echo,
            provider=FakeProvider(),
            logout_store=MemoryLogoutStore(),
            base_url=BASE_URL,
            session={"secret": SECRET, "data_dir": str(tmp_path), **session},
            max_login_age=3600,
            session_key="my.session",
        )

    assert wrapped().options["cookie_expires"] == timedelta(hours=1)
    assert wrapped().environ_key == "my.session"
    assert wrapped(**{"session.cookie_expires": True}).options["cookie_expires"] is True


@pytest.mark.parametrize("timeout", [600, "600"])
def test_timeout_works(timeout: Any) -> None:
    """Beaker raises for a timeout without the access time, so that is on then, and Beaker takes the options."""
    options = effective(secret=SECRET, timeout=timeout)
    assert options["timeout"] == 600
    assert options["save_accessed_time"] is True
    make_app(session={"timeout": timeout})


# -- the cookie ---------------------------------------------------------------------------------------------


@each(
    ("base_url", "name"),
    [
        ("https://www.example.com", "__Host-clef-www-example-com"),
        ("https://www.example.com:8443", "__Host-clef-www-example-com-8443"),
        ("https://WWW.Example.com/", "__Host-clef-www-example-com"),
        ("http://localhost:8401", "clef-localhost-8401"),
        ("http://localhost", "clef-localhost"),
    ],
)
def test_the_cookie_is_named_after_the_site(base_url: str, name: str) -> None:
    """Cookies ignore ports, so the name holds them; __Host- keeps other hosts of the domain from setting it."""
    assert cookie_of(base_url).key == name


PORTS = ["", ":1", ":11", ":8401"]
PREFIXES = ["", "/1", "/8401", "/a", "/A", "/a/b", "/a-b", "/ab", "/a.b", "/a_b", "/1/1"]


@pytest.mark.parametrize("host", ["http://localhost", "https://www.example.com"])
def test_no_two_sites_on_a_host_share_a_cookie_name(host: str) -> None:
    """Another port or another prefix is another site, and the two must not overwrite each other's cookie."""
    sites = [host + port + prefix for port in PORTS for prefix in PREFIXES]
    site_of: dict[str, str] = {}
    shared = []
    for site in sites:
        other = site_of.setdefault(effective(site, secret=SECRET)["key"], site)
        shared += [(other, site)] if other != site else []
    assert shared == []


def test_the_cookie_is_closed_and_lasts() -> None:
    """HttpOnly, Secure, SameSite=Lax, Path=/, no Domain (which __Host- forbids), and an end in 30 days."""
    cookie = cookie_of()
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    left = parsedate_to_datetime(cookie["expires"]).timestamp() - time.time()
    assert abs(left - 30 * 24 * 3600) < 60


def test_the_cookie_of_a_loopback_site_goes_over_http() -> None:
    """Plain http, which is for loopback alone, implies a cookie without Secure, hence without __Host-."""
    cookie = cookie_of(LOOPBACK)
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, "", "Lax")


def test_the_cookie_of_a_site_below_a_prefix_is_the_sites_own() -> None:
    """Paths do not separate two applications of one host: Path stays /, the name distinguishes them."""
    cookie = cookie_of(BASE_URL + "/app")
    assert cookie["path"] == "/"
    assert cookie.key.startswith("__Host-clef-www-example-com-")


@pytest.mark.parametrize("option", [{"cookie_path": "/app"}, {"cookie_domain": "example.com"}])
def test_host_only_is_not_claimed_where_it_does_not_hold(option: dict[str, str]) -> None:
    """Browsers refuse a __Host- cookie with a Domain, or with another Path."""
    cookie = cookie_of(session=option)
    assert cookie.key.startswith("clef-www-example-com")
    assert {"cookie_path": cookie["path"], "cookie_domain": cookie["domain"]}.items() >= option.items()


def test_the_cookie_is_still_right_after_a_login_and_a_logout() -> None:
    """A login writes a new cookie, with a Domain and a Path of one's own too."""
    site = browser(make_app(session={"cookie_path": "/", "cookie_domain": "www.example.com"}))
    site.sign_in("ann")
    site.sign_out()
    [header] = site.sign_in("bo").headers.getall("Set-Cookie")
    [cookie] = SimpleCookie(header).values()
    assert (cookie["domain"], cookie["path"], cookie["httponly"]) == ("www.example.com", "/", True)
    assert site.user is not None


# -- what a login can't stand on, at construction -----------------------------------------------------------

UNSAFE: list[tuple[dict[str, Any], str]] = [
    ({"secret": None}, "needs a secret"),
    ({"secret": ""}, "needs a secret"),
    ({"secret": "x" * 31}, "at least 32 bytes"),
    ({"key": "two words"}, "key must be a name"),
    ({"key": "a=b"}, "key must be a name"),
    ({"key": "a;b"}, "key must be a name"),
    ({"key": "Zoë"}, "key must be a name"),
    ({"secret": b"x" * 32}, "must be text"),
    ({"data_serializer": "pickle"}, "data_serializer is pickle"),
    ({"httponly": False}, "set httponly to true"),
    ({"httponly": "false"}, "set httponly to true"),
    ({"secure": False}, "set secure to true"),
    ({"secure": "no"}, "set secure to true"),
    ({"samesite": "Strict"}, "samesite must be Lax"),
    ({"samesite": "strict"}, "samesite must be Lax"),
    ({"samesite": "None"}, "samesite must be Lax"),
    ({"samesite": None}, "samesite must be Lax"),
    ({"type": "cookie"}, "can be replayed"),
]


@each(("option", "sentence"), UNSAFE)
def test_unsafe_options_are_refused_at_construction(option: dict[str, Any], sentence: str) -> None:
    """Each gets one sentence that says what to write instead."""
    beaker = {"secret": SECRET, **option}
    [fault] = faults_of(lambda: session_options(base_url=BASE_URL, **beaker))
    assert sentence in fault
    [again] = faults_of(lambda: make_app(session=beaker))
    assert again == fault


def test_all_faults_are_told_together() -> None:
    """Of both layers, each once: nobody has to mend them one by one."""

    def wrapped() -> Any:
        return wrap(
            echo,
            provider=FakeProvider(),
            logout_store=MemoryLogoutStore(),
            base_url="http://www.example.com",
            session={"secret": "short", "httponly": False},
            login_path="login",
        )

    faults = faults_of(wrapped)
    for word in ("base_url", "login_path", "32 bytes", "httponly"):
        assert len([fault for fault in faults if word in fault]) == 1, word
    assert len(faults) == 4
    beaker: dict[str, Any] = {"secret": "short", "httponly": False, "data_serializer": "pickle"}
    assert len(faults_of(lambda: session_options(base_url=BASE_URL, **beaker))) == 3


def test_what_beaker_itself_refuses_is_told_so() -> None:
    """Beaker raises ``Exception`` for it: here it is one of our own errors, from each of the two ways."""
    beaker: dict[str, Any] = {"secret": SECRET, "timeout": 60, "save_accessed_time": False}
    [fault] = faults_of(lambda: session_options(base_url=BASE_URL, **beaker))
    assert fault == "The session can't be made so: save_accessed_time must be true to use timeout."
    assert faults_of(lambda: make_app(session=beaker)) == (fault,)


@each(("kind", "folders"), [("file", "file_dir and lock_dir"), ("dbm", "dbm_dir and lock_dir")])
def test_records_in_files_need_a_folder(kind: str, folders: str) -> None:
    """Beaker's own error, which names the options: nothing is written to a folder that nobody chose."""
    with pytest.raises(MissingCacheParameter, match=f"data_dir is required, or {folders}"):
        browser(make_app(session={"type": kind})).get("/session?a=1")


@each("secret", [" " * 40, "\t" * 40, [SECRET, " " * 40]])
def test_a_blank_secret_is_none(secret: Any) -> None:
    """Beaker raises an error of its own for it; as an older one anybody could sign with it."""
    [fault] = faults_of(lambda: session_options(base_url=BASE_URL, secret=secret))
    assert "needs a secret" in fault


def test_a_secret_is_never_told() -> None:
    """A fault says what is wrong with a secret, and not what it was."""
    [fault] = faults_of(lambda: session_options(base_url=BASE_URL, secret="hunter2"))
    assert "hunter2" not in fault


@each("session", [None, "secret", ["secret"], 7])
def test_session_must_be_a_dict(session: Any) -> None:
    """Anything else gets one sentence."""
    make: dict[str, Any] = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore(), "base_url": BASE_URL}
    [fault] = faults_of(lambda: wrap(echo, **make, session=session))
    assert fault.startswith("session must be a dict")


# -- what a login can't stand on, at the first request ------------------------------------------------------


def inner(**options: Any) -> ClefMiddleware:
    plugs: dict[str, Any] = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore(), "base_url": BASE_URL}
    return ClefMiddleware(echo, **{**plugs, **options})


PATHS = ["/", "/clef/login", "/clef/callback?code=a&state=b", "/clef/logout"]


def ask_own(app: Any, path: str, **environ: Any) -> Any:
    path, _, query = path.partition("?")
    if path == "/clef/logout":
        environ = {"method": "POST", "HTTP_SEC_FETCH_SITE": "same-origin", "CONTENT_LENGTH": "0", **environ}
    return ask(app, path, query=query, **environ)


@each("path", PATHS)
def test_a_missing_session_is_one_clear_sentence(path: str) -> None:
    """ClefMiddleware without Beaker around it says so at the first request, whichever that is."""
    [fault] = faults_of(lambda: ask_own(inner(), path))
    assert "no Beaker session in environ['beaker.session']" in fault
    assert "clef_wsgi.wrap" in fault


@each("session", [None, {}, "session"])
def test_something_else_than_a_beaker_session_is_refused(session: Any) -> None:
    """A dict under that key is no session that could be saved."""
    [fault] = faults_of(lambda: ask(inner(), **{"beaker.session": session} if session is not None else {}))
    assert "no Beaker session" in fault


@each("path", PATHS)
@each(("option", "sentence"), [entry for entry in UNSAFE if not isinstance(entry[0].get("secret"), bytes)])
def test_a_beaker_of_ones_own_with_unsafe_options_is_refused(path: str, option: dict[str, Any], sentence: str) -> None:
    """The effective options count, whatever their source: unsafe ones are refused at every request."""
    options = {**session_options(base_url=BASE_URL, secret=SECRET), **{f"session.{k}": v for k, v in option.items()}}
    if option == {"secret": ""}:
        options["session.secret"] = None  # Beaker itself refuses an empty one
    app = SessionMiddleware(inner(), options)
    for _ in range(2):
        [fault] = faults_of(lambda: ask_own(app, path))
        assert sentence in fault


def test_beakers_own_defaults_are_refused() -> None:
    """A bare SessionMiddleware: no secret, a cookie that is lost, pickle, readable by scripts, over http."""
    faults = faults_of(lambda: ask(SessionMiddleware(inner())))
    assert len(faults) == 5


def test_options_without_prefix_are_noticed() -> None:
    """Beaker ignores them without a word once one has its prefix: then there is no secret in force."""
    app = SessionMiddleware(inner(), {"session.type": "memory", "secret": SECRET})
    assert any("needs a secret" in fault for fault in faults_of(lambda: ask(app)))


def test_a_loopback_site_needs_no_secure() -> None:
    """The same options without secure are good enough for plain http on this machine."""
    options = session_options(base_url=LOOPBACK, secret=SECRET)
    assert ask(SessionMiddleware(inner(base_url=LOOPBACK), options)).status == 200


def test_memory_sessions_are_refused_where_several_processes_serve() -> None:
    """wsgi.multiprocess: a login would be known to one process alone."""
    app = SessionMiddleware(inner(logout_store=SharedStore()), session_options(base_url=BASE_URL, secret=SECRET))
    [fault] = faults_of(lambda: ask_own(app, "/", **MULTIPROCESS))
    assert "Sessions live in one process" in fault
    assert ask(app).status == 200


@each(
    ("options", "is_shared"),
    [
        ({"type": "memory"}, False),
        ({"type": "memory", "data_dir": "sessions"}, False),
        ({"type": None}, False),
        ({"type": None, "data_dir": "sessions"}, True),
        ({"type": "file", "data_dir": "sessions"}, True),
        ({"type": "ext:redis", "url": "redis://127.0.0.1:1/0"}, True),
    ],
)
def test_which_sessions_several_processes_can_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], is_shared: bool
) -> None:
    """By Beaker's own rule: without a type they are files where there is a data_dir, and else in memory."""
    monkeypatch.chdir(tmp_path)
    in_force = {**session_options(base_url=BASE_URL, secret=SECRET), **{f"session.{k}": v for k, v in options.items()}}
    app = SessionMiddleware(inner(logout_store=SharedStore()), in_force)
    if is_shared:
        assert ask_own(app, "/", **MULTIPROCESS).status == 200
    else:
        [fault] = faults_of(lambda: ask_own(app, "/", **MULTIPROCESS))
        assert "Sessions live in one process" in fault


@pytest.mark.parametrize("path", [*PATHS, "/clef/webhook"])
def test_a_memory_store_is_refused_where_several_processes_serve(path: str, tmp_path: Path) -> None:
    """wsgi.multiprocess: a logout would be known to one process alone, so no answer may claim that it was recorded."""
    options = session_options(base_url=BASE_URL, secret=SECRET, data_dir=str(tmp_path))
    app = SessionMiddleware(inner(), options)
    post: dict[str, Any] = {"method": "POST", "body": b"logout_token=ann.1"} if path == "/clef/webhook" else {}
    [fault] = faults_of(lambda: ask_own(app, path, **post, **MULTIPROCESS))
    assert "logout store lives in one process" in fault


class SharedStore(MemoryLogoutStore):
    """A memory store that claims to be shared."""

    single_process = False
