"""Which paths need a login, in whatever form they come, and who is led to one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.app import BASE_URL, FakeProvider, ask, browser, echo, make_app
from support.cases import each

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


class Witness:
    """An app that notes every path it is asked for, and sends a secret."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.asked.append(environ.get("PATH_INFO", ""))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"the secret"]


# -- forms of a path --------------------------------------------------------------------------------------

HELD = [
    *("/admin", "/admin/", "/admin/users", "/admin/users/7", "/a/b", "/a/b/c"),
    *("//admin", "///admin", "//admin/users", "/admin//", "//a/b", "/a//b", "//a//b//c"),
    *(
        "/x/../admin",
        "/./admin",
        "/x/./../admin",
        "/x/y/../../admin/users",
        "/../admin",
        "/..//admin",
        "/a/./b",
        "/a/x/../b",
    ),
    *("/admin;x", "/admin;x=y/users", "/x/..;/admin", "/x/..;y=z/admin", "/;x/admin", "/.;/admin", "/a;x/b", "/a/b;/c"),
    *(
        "/admin/..",
        "/admin/../public",
        "/admin/..;/public",
        "/a/b/..",
        "/a/../b",
        "/admin/.",
        "/static/../admin",
        "//x/..//./admin;z//",
    ),
]
FREE = [
    "/",
    "/public",
    "/administer",
    "/admin2",
    "/admin-x",
    "/admin.html",
    "/Admin",
    "/x/admin",
    "/a",
    "/a/",
    "/a/bc",
    "/ab",
]
FREE += ["/x/../public", "//public", "/public;admin", "/x;/admin", "/admi/n"]


@each("path", HELD)
def test_a_path_is_protected_in_every_form(path: str) -> None:
    """A path needs a login if any reading of it is below a prefix; the app is not even asked."""
    app = Witness()
    answer = ask(make_app(app, protect=["/admin", "/a/b"]), path)
    assert answer.status == 303
    assert (answer.header("Location") or "").startswith(BASE_URL + "/clef/login?next=")
    assert app.asked == []


@each("path", FREE)
def test_what_only_looks_like_a_prefix_is_free(path: str) -> None:
    """``/admin`` is ``/admin`` and ``/admin/...``, not ``/administer``."""
    app = Witness()
    assert ask(make_app(app, protect=["/admin", "/a/b"]), path).status == 200
    assert app.asked == [path]


def test_a_person_signed_in_passes_with_the_path_untouched() -> None:
    """The canonical path is for the decision alone: the app gets the path as it came."""
    app = make_app(protect=["/admin"])
    ann = browser(app)
    ann.sign_in("ann")
    for path in HELD:
        assert ask(app, path, HTTP_COOKIE=ann.cookie).json["path"] == path


@each("path", ["", "/", "/x", "//", "/administer", "/\xff", "/x y"])
def test_a_slash_protects_everything(path: str) -> None:
    """``/`` is every path, the empty one too."""
    app = Witness()
    assert ask(make_app(app, protect=["/"]), path, SCRIPT_NAME="/app").status == 303
    assert app.asked == []


def test_a_request_without_a_path_is_protected_by_a_slash() -> None:
    """Row 54: PATH_INFO may be missing (PEP 3333): it is the empty path."""
    app = Witness()
    wrapped = make_app(app, protect=["/"], validated=False)
    assert ask(wrapped, PATH_INFO=None, SCRIPT_NAME="/app").status == 303
    assert app.asked == []


def test_a_prefix_may_end_with_a_slash() -> None:
    """``/admin/`` means what ``/admin`` means."""
    app = make_app(protect=["/admin/"])
    assert [ask(app, path).status for path in ("/admin", "/admin/", "/admin/x", "/administer")] == [303, 303, 303, 200]


def test_prefixes_are_inside_the_mount_prefix() -> None:
    """Mounted at /app, ``protect`` is compared with PATH_INFO, and ``next`` is what the browser shows."""
    app = make_app(base_url="https://www.example.com/app", protect=["/admin"])
    location = ask(app, "/admin", SCRIPT_NAME="/app").header("Location")
    assert location == "https://www.example.com/app/clef/login?next=/app/admin"
    assert ask(app, "/app/admin", SCRIPT_NAME="/app").status == 200


# -- ignore -----------------------------------------------------------------------------------------------


@each(
    "path",
    ["/static/../admin", "/static/..;/admin", "/static/./../admin", "/static//../admin", "/static/x/../../admin/users"],
)
def test_ignore_is_no_way_past_protect(path: str) -> None:
    """A path is ignored only if all its readings are below a prefix."""
    app = Witness()
    assert ask(make_app(app, protect=["/admin"], ignore=["/static"]), path).status == 303
    assert app.asked == []


@each("path", ["/static/..", "/static/../x", "//static/x", "/x/../static/x", "/static;x/y", "/staticx"])
def test_an_odd_form_of_an_ignored_path_is_not_ignored(path: str) -> None:
    """With everything protected, only the plain form of an ignored path is exempt."""
    app = Witness()
    assert ask(make_app(app, protect=["/"], ignore=["/static"]), path).status == 303
    assert app.asked == []


@each("path", ["/static", "/static/", "/static/app.css", "/static//app.css", "/static/x/../app.css"])
def test_nothing_is_read_asked_or_marked_on_an_ignored_path(path: str) -> None:
    """Ignored: ``clef.user`` is None whoever asks, no header is added, and an outer ``protect`` does not hold."""
    app = make_app(protect=["/"], ignore=["/static"])
    ann = browser(app)
    ann.sign_in("ann")
    answer = ask(app, path, HTTP_COOKIE=ann.cookie)
    assert answer.json["user"] is None
    assert answer.json["login_id"] is None
    assert answer.headers == [("Content-Type", "application/json")]


def test_own_endpoints_work_below_an_ignored_prefix() -> None:
    """The middleware's own paths are its own wherever they are."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, ignore=["/clef"], protect=["/"]))
    ann.sign_in("ann")
    assert ann.user is not None
    assert ann.notify(provider.logout_token("ann"), status=200).json == {"success": True}
    assert ann.get("/", status=303)


# -- who is led to a login --------------------------------------------------------------------------------

PAGES: list[dict[str, Any]] = [
    {},
    {"HTTP_ACCEPT": HTML},
    {"HTTP_ACCEPT": "*/*"},
    {"HTTP_ACCEPT": "text/*"},
    {"HTTP_ACCEPT": "garbled;;;"},
    {"HTTP_ACCEPT": HTML, "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"},
    {"HTTP_SEC_FETCH_MODE": "navigate"},
    {"HTTP_SEC_FETCH_DEST": "document"},
    {"method": "HEAD"},
]
SCRIPTS: list[dict[str, Any]] = [
    {"HTTP_ACCEPT": "application/json"},
    {"HTTP_ACCEPT": "application/json, text/html;q=0"},
    {"HTTP_ACCEPT": "image/png"},
    {"HTTP_X_REQUESTED_WITH": "XMLHttpRequest"},
    {"HTTP_ACCEPT": HTML, "HTTP_X_REQUESTED_WITH": "XMLHttpRequest"},
    {"HTTP_ACCEPT": HTML, "HTTP_SEC_FETCH_MODE": "cors"},
    {"HTTP_ACCEPT": HTML, "HTTP_SEC_FETCH_MODE": "no-cors", "HTTP_SEC_FETCH_DEST": "image"},
    {"HTTP_ACCEPT": HTML, "HTTP_SEC_FETCH_MODE": "same-origin", "HTTP_SEC_FETCH_DEST": "empty"},
    {"HTTP_ACCEPT": HTML, "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "iframe"},
    {"HTTP_SEC_FETCH_DEST": "script"},
    {"method": "POST", "HTTP_ACCEPT": HTML},
    {"method": "PUT"},
    {"method": "DELETE"},
    {"method": "OPTIONS"},
]


@each("request_", PAGES, ids=repr)
def test_a_page_is_led_to_the_login(request_: dict[str, Any]) -> None:
    """A page, by GET or HEAD, is redirected to ``login_path``; the way back is the page with its query."""
    provider = FakeProvider()
    answer = ask(make_app(provider=provider, protect=["/admin"]), "/admin", query="x=1&y=%2F", **request_)
    assert answer.status == 303
    assert answer.body == b""
    location = urlsplit(answer.header("Location") or "")
    assert location.path == "/clef/login"
    assert parse_qs(location.query) == {"next": ["/admin?x=1&y=%2F"]}
    assert provider.starts == []


@each("request_", SCRIPTS, ids=repr)
def test_a_script_or_a_form_gets_401_with_the_login_url(request_: dict[str, Any]) -> None:
    """Scripts and what is not GET get 401 JSON; the way back of a form is the front page."""
    answer = ask(make_app(protect=["/admin"]), "/admin", query="x=1", **request_)
    assert answer.status == 401
    back = "/" if "method" in request_ else "/admin%3Fx%3D1"
    assert answer.json["error"] == "login_required"
    assert answer.json["login_url"] == f"{BASE_URL}/clef/login?next={back}"
    assert answer.header("WWW-Authenticate")
    assert answer.header("Set-Cookie") is None


@each("request_", [r for r in SCRIPTS if "method" not in r], ids=repr)
def test_a_request_that_cannot_log_in_never_starts_a_login(request_: dict[str, Any]) -> None:
    """The login's own path starts nothing for a script: a picture in a page must not use up states."""
    provider = FakeProvider()
    answer = ask(make_app(provider=provider), "/clef/login", query="next=/notes", **request_)
    assert answer.status == 401
    assert answer.json["login_url"] == BASE_URL + "/clef/login?next=/notes"
    assert answer.header("Set-Cookie") is None
    assert provider.starts == []


@each("request_", [r for r in PAGES if "method" not in r], ids=repr)
def test_a_page_starts_a_login(request_: dict[str, Any]) -> None:
    """The login's own path sends a page to the provider."""
    provider = FakeProvider()
    assert ask(make_app(provider=provider), "/clef/login", **request_).status == 303
    assert len(provider.starts) == 1


@each("path", ["/admin/notes?page=2&q=a%20b", "/admin/%C3%BCber", "/admin/a+b", "/admin/100%25", "/admin/what%3F?x"])
def test_after_the_login_the_page_of_before_is_shown(path: str) -> None:
    """The whole way: page, login, provider, callback, page."""
    ann = browser(make_app(protect=["/admin"]))
    login = ann.get(path, status=303)
    provider = ann.get(login.location, status=303)
    state = parse_qs(urlsplit(provider.location).query)["state"][0]
    assert ann.come_back(state, status=303).location == BASE_URL + path
    assert ann.get(path, status=200).json["user"]["id"] == "ann"


def test_the_error_page_is_never_a_protected_page() -> None:
    """With everything protected, a failed callback is a 400 page, not a redirect loop."""
    provider = FakeProvider()
    ann = browser(make_app(echo, provider=provider, protect=["/"]))
    assert ann.come_back("unknown", status=400).content_type == "text/html"
    state = ann.start_login()
    ann.get(f"/clef/callback?error=access_denied&state={state}", status=400)
    assert ann.get("/clef/logout", status=303).location == "https://www.example.com/"


def test_a_protected_page_is_lost_at_the_next_request_after_a_logout() -> None:
    """R9 for protected pages: signed out by a notification, led to the login."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, protect=["/admin"]))
    ann.sign_in("ann")
    ann.get("/admin", status=200)
    ann.notify(provider.logout_token("ann"), status=200)
    ann.get("/admin", status=303)
