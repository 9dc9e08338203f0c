"""``protect`` is what it says, whatever way a path is written; ``public``; and paths that are nearly our own."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.app import BASE_URL, SECRET, Environ, FakeClock, FakeProvider, WSGIApp, ask, browser, echo, make_app
from support.cases import each
from test_protect import Witness

from clef_wsgi import wrap
from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.middleware import ClefMiddleware
from clef_wsgi.stores.memory import MemoryLogoutStore

JSON: Environ = {"HTTP_ACCEPT": "application/json"}
UEBER = "/über".encode().decode("latin-1")


def bare(app: WSGIApp = echo, **options: Any) -> WSGIApp:
    """The app in both layers without validators, since some servers hand over what PEP 3333 forbids."""
    plugs: Any = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore()}
    return wrap(app, **{**plugs, "base_url": BASE_URL, **options}, session={"secret": SECRET, "type": "memory"})


def is_asked_to_log_in(path: Any, *, environ: Environ | None = None, expect: int = 303, **options: Any) -> None:
    """See that nobody signed in gets the app's page, and that the app is not even asked."""
    witness = Witness()
    app = bare(witness, **{"protect": ["/admin"], **options})
    assert ask(app, path, **(environ or {})).status == expect
    assert witness.asked == []


def is_free(path: Any, *, environ: Environ | None = None, **options: Any) -> None:
    """See that the app is asked for this very path."""
    witness = Witness()
    assert ask(bare(witness, **options), path, **(environ or {})).status == 200
    assert witness.asked == [path]


# -- rows 66 to 69: ways of writing a path ------------------------------------------------------------------


@each(
    "path",
    [
        *("admin", "admin/x", "./admin", "../admin", ".//admin", "x/../admin", "x:admin", "x:/admin", "%61dmin"),
        *(
            "http://www.example.com/admin",
            "HTTP://x/admin/y",
            "http:admin",
            "x:%61dmin",
            "@@admin",
            ";/admin",
            "\\admin",
        ),
    ],
)
def test_row_66_a_path_without_its_leading_slash(path: str) -> None:
    """Row 66: Flask and Pyramid serve ``admin`` as ``/admin``, so it is protected like it."""
    is_asked_to_log_in(path)
    is_asked_to_log_in(path, protect=["/"])
    is_asked_to_log_in(path, protect=["/"], public=["/x", "/http:"], ignore=["/y"])


@each("script_name", ["", "/", "/mount", "/mount/"])
@each("path", ["admin", "/admin", "//admin"])
def test_row_66_whatever_script_name_says(script_name: str, path: str) -> None:
    """Row 66: gunicorn cuts SCRIPT_NAME off, with its last slash: what is left is ``admin``."""
    is_asked_to_log_in(path, environ={"SCRIPT_NAME": script_name})


@each("path", ["*", "/*"])
def test_row_66_the_asterisk_is_never_let_off(path: str) -> None:
    """Row 66: ``OPTIONS *`` is ``/`` to one router and ``/*`` to another: both have to be public."""
    is_asked_to_log_in(path, protect=["/"], environ={"method": "OPTIONS"}, expect=401)
    is_asked_to_log_in(path, protect=["/"], public=["/"], environ={"method": "OPTIONS"}, expect=401)
    is_free(path, protect=["/admin"], environ={"method": "OPTIONS"})


@each("path", ["/admin\0", "\0", "/x\0y", "/\u0394", "/admin\u0394", "/static/\0", b"/admin", "/..;" * 1025])
def test_row_66_what_is_no_path_is_refused_where_anything_is_protected(path: Any) -> None:
    """Row 66: PATH_INFO that breaks PEP 3333, holds NUL, or is long and odd, is 400 for everybody."""
    is_asked_to_log_in(path, expect=400, ignore=["/static"])
    ann = browser(bare(protect=["/admin"]))
    ann.sign_in("ann")
    assert ask(ann.app, path, HTTP_COOKIE=ann.cookie).json["error"] == "malformed_path"


@each("path", ["/x\0y", "/\u0394", "/..;" * 1025])
def test_row_54_what_is_no_path_reaches_an_app_that_protects_nothing(path: str) -> None:
    """Row 54: where nothing is protected, nothing is decided; such a path is never ignored."""
    is_free(path)
    is_free(path, ignore=["/x"])


NOT_UTF8 = [
    "/adm\xffin",
    "/admin\xff",
    "/\xffadmin",
    "\xff/admin",
    "/admin\xff/x",
    "/a\xed\xa0\x80dmin",
    "/x/.\xff./admin",
]
NOT_UTF8 += ["/public/.\xff./admin", "/\xc3/admin", "/adm\xc0in", "/\xff\xfe;/@@adm\x80in"]


@each("path", NOT_UTF8)
def test_row_67_bytes_that_a_router_drops(path: str) -> None:
    """Row 67: Bottle drops what is not UTF-8 behind our back: the path without it is protected too."""
    is_asked_to_log_in(path)
    is_asked_to_log_in(path, protect=["/"], public=["/public"])


@each("path", ["/caf\xe9", "/files/r\xe9sum\xe9.pdf", "/adm\xe9", "/\xff", "\xff", "/x\xff/admin"])
def test_row_67_the_same_bytes_elsewhere_are_untouched(path: str) -> None:
    """Row 67: old sites have file names in latin-1."""
    is_free(path, protect=["/admin"])
    if path.startswith("/files"):
        is_free(path, protect=["/"], public=["/files"])


@each("path", ["/admin\n", "/admin\r", "/admin\x00"[:-1] + "\t", "/ad\tmin", "/\x1fadmin", "/admin\x7f"])
def test_row_67_control_characters_that_a_router_drops(path: str) -> None:
    """Row 67: ``$`` in the patterns of Pyramid and Bottle matches before a line end, and urlsplit drops tabs."""
    is_asked_to_log_in(path)


@each("prefix", ["/über", "/日本", "/über/Öl", "/a/ß", "/café"])
@each("option", ["protect", "public", "ignore"])
def test_row_68_prefixes_outside_ascii(option: str, prefix: str) -> None:
    """Row 68: an option holds what people read; PATH_INFO holds the bytes of its UTF-8, as latin-1."""
    path = prefix.encode().decode("latin-1")
    if option == "protect":
        for below in (path, path + "/", path + "/x", path[1:], "/x/.." + path):
            is_asked_to_log_in(below, protect=[prefix])
        is_free(path + "x", protect=[prefix])
    else:
        options: dict[str, Any] = {"protect": ["/"], option: [prefix]}
        is_free(path + "/x", **options)
        is_asked_to_log_in(path + "x", **options)


def test_row_68_a_path_in_latin_1_is_what_it_was() -> None:
    """Row 68: a plain WSGI app that compares PATH_INFO with ``/café`` is reached by the one byte: protected too."""
    is_asked_to_log_in("/caf\xe9", protect=["/café"])
    is_asked_to_log_in("/caf\xe9/x", protect=["/café"])


def test_row_68_own_paths_outside_ascii() -> None:
    """Row 68: our own paths may be any text: they are found, and their addresses are in ASCII."""
    provider = FakeProvider()
    names: dict[str, Any] = {f"{name}_path": f"/über/{name}" for name in ("login", "callback", "webhook", "logout")}
    app = bare(provider=provider, protect=["/"], **names)
    location = ask(app, "/x").header("Location") or ""
    assert location == BASE_URL + "/%C3%BCber/login?next=/x"
    assert urlsplit(ask(app, UEBER + "/login").header("Location") or "").netloc == "login.example.net"
    assert provider.starts[0][1] == BASE_URL + "/%C3%BCber/callback"
    assert ask(app, UEBER + "/webhook").status == 405
    assert ask(app, UEBER + "/WEBHOOK", method="POST").status == 404


@each("path", ["/@@admin", "/@@admin/x", "/admin/@@x", "/@@@@admin", "/@@../admin", "/x/@@../admin", "/x/..;/@@admin"])
def test_row_69_a_view_name_of_traversal(path: str) -> None:
    """Row 69: Pyramid's traversal takes ``/@@admin`` for ``/admin``."""
    is_asked_to_log_in(path)
    if ".." not in path:
        is_asked_to_log_in("/a" + path, protect=["/a/admin"])


@each("path", ["/", "", "/public", "/public/x", "/static/x"])
@each("header", ["/admin", "admin", "/admin/", "/x/../admin", "//admin", "/@@admin", "/adm\xffin", "/public/../admin"])
def test_row_69_a_header_that_steers_traversal(path: str, header: str) -> None:
    """Row 69: ``X-Vhm-Root: /admin`` makes Pyramid serve ``/admin`` for ``GET /``, on public and ignored paths too."""
    options: dict[str, Any] = {"protect": ["/admin"], "public": ["/public"], "ignore": ["/static"]}
    is_asked_to_log_in(path, environ={"HTTP_X_VHM_ROOT": header}, **options)


def test_row_69_a_header_that_steers_traversal_behind_a_route() -> None:
    """Row 69: in ``/pub/*traverse`` the header stands between the route and the rest."""
    is_asked_to_log_in("/pub/x", protect=["/pub/secret"], environ={"HTTP_X_VHM_ROOT": "/secret"})
    is_asked_to_log_in("/pub/../x", protect=["/pub/secret/x"], environ={"HTTP_X_VHM_ROOT": "/../secret"})
    is_asked_to_log_in("/pub/ret", protect=["/pub/secret"], environ={"HTTP_X_VHM_ROOT": "/sec"})
    is_free("/pub/x", protect=["/secret/in"], environ={"HTTP_X_VHM_ROOT": "/secret"})


def test_row_69_a_header_that_leads_nowhere_changes_nothing() -> None:
    """Row 69: a front that sets the header for a virtual host is left alone."""
    is_free("/x", protect=["/admin"], environ={"HTTP_X_VHM_ROOT": "/sites/a"})
    is_free("/x", protect=["/"], public=["/x", "/sites/a"], environ={"HTTP_X_VHM_ROOT": "/sites/a"})
    is_free("/static/x", ignore=["/static"], environ={"HTTP_X_VHM_ROOT": "/admin"})


@each(
    "path",
    [
        "/pub/../secret",
        "/pub/x/../../secret",
        "/pub/../x/../secret",
        "/pub/;p/../../;p/../secret",
        "/pub/..;/secret",
        "x/../pub/secret/..;/x",
    ],
)
def test_row_66_dots_that_end_at_a_route(path: str) -> None:
    """Row 66: Pyramid resolves the dots of ``/pub/*traverse`` and of static views behind ``/pub`` alone."""
    is_asked_to_log_in(path, protect=["/pub/secret"])
    is_asked_to_log_in(path, protect=["/"], public=["/secret"])


@each(
    "path",
    ["x/admin", "|/admin", "public/admin", "@@/admin", "\xff/admin", "x//admin", "x/./admin", "public/../x/admin"],
)
def test_row_66_a_first_segment_without_its_slash(path: str) -> None:
    """Row 66: Werkzeug's ``DispatcherMiddleware`` makes ``/admin`` of ``x/admin``."""
    is_asked_to_log_in(path)
    is_asked_to_log_in(path, protect=["/"], public=["/public", "/x"])


@each(
    "path",
    [
        "/files/../static/secret",
        "/files/x/../../static/secret/y",
        "/files/../a/../static/secret",
        "/files/..\\s/secret",
    ],
)
def test_row_66_dots_that_come_back_by_a_folder_name(path: str) -> None:
    """Row 66: what Bottle and Django serve of a folder ``static`` at ``/files`` may leave it, and enter it again."""
    is_asked_to_log_in(path, protect=["/files/secret"])
    is_asked_to_log_in(path, protect=["/"], public=["/files/static", "/static", "/s"])


def test_row_67_text_that_a_mounted_router_decodes_again() -> None:
    """Row 67: a Bottle mounted in a Bottle drops ``ÿ``, which is well-formed for the outer one; elsewhere it counts."""
    for path in ("/sub/adm\xc3\xbfin", "/sub/\xc3\xbfadmin/x", "/sub/adm\xc3\x83\xc2\xbfin", "/sub/admin\xc2\x80"):
        is_asked_to_log_in(path, protect=["/sub/admin"])
        is_asked_to_log_in(path, protect=["/sub/admin"], public=["/sub"])
        is_free(path, protect=["/admin"])
    is_asked_to_log_in("/sub/\xc3\x83\xc2\xbcber", protect=["/sub/über"])
    is_free("/sub/\xc3\xbcber", protect=["/"], public=["/sub/über"])


def test_rows_66_to_69_for_somebody_signed_in() -> None:
    """The decision reads a path in many ways; the app gets it as it came."""
    app = bare(protect=["/admin"])
    ann = browser(app)
    ann.sign_in("ann")
    for path in [*NOT_UTF8, "admin", "/@@admin", "/admin\n", "/x/../admin"]:
        assert ask(app, path, HTTP_COOKIE=ann.cookie).json["path"] == path


# -- row 71: whatever the method ------------------------------------------------------------------------------


@each("method", ["OPTIONS", "HEAD", "POST", "PUT", "DELETE", "PROPFIND", "TRACE", "get", ""])
@each("path", ["/admin", "admin", "/adm\xffin", "/@@admin"])
def test_row_71_the_method_does_not_matter(method: str, path: str) -> None:
    """Row 71: a preflight (CORS) to a protected path is 401 and never reaches the app; HEAD counts as GET."""
    preflight = {"HTTP_ORIGIN": "https://other.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}
    is_asked_to_log_in(path, environ={"method": method, **preflight}, expect=303 if method == "HEAD" else 401)


# -- row 111: legitimate names --------------------------------------------------------------------------------

LEGITIMATE = [
    *("/", "/a;b.pdf", "/@@x", "/caf\xe9", "//cdn/x", "/...", "/administer", "/admin2", "/Admin", "/admin.html"),
    *("/a/../b", "/x/./y", "/a//b", "/über".encode().decode("latin-1"), "/日本".encode().decode("latin-1"), "/100%"),
    *(
        "/a%2fb",
        "/%61",
        "/what?",
        "/c#",
        "/a b",
        "/.well-known/acme-challenge/x",
        "/~ann/",
        "/a\\b",
        "/x;admin/y",
        "/*",
    ),
    *("/@ann/notes", "/a@@b", "/x/admin", "/q=1&r=2", "/(1)+[2]{3}", "/a|b^c`d", "/files/r\xe9sum\xe9.pdf", "/admi/n"),
    *(
        "/;jsessionid=1",
        "/x/;y",
        "/..a/b",
        "/a..b",
        "/-",
        "/_",
        "/http://other.example/x",
        "/a:b",
        "/clef",
        "/clef/loginx",
    ),
]


@each("path", LEGITIMATE)
@each("options", [{}, {"public": ["/about"]}, {"public": ["/"]}, {"ignore": ["/static"]}])
def test_row_111_legitimate_names_are_answered_as_without_us(path: str, options: dict[str, Any]) -> None:
    """Row 111: on a site that protects /admin alone, every other name gets the app's own answer."""
    is_free(path, protect=["/admin"], **options)
    assert ask(bare(Witness(), protect=["/admin"], **options), path).body == ask(Witness(), path).body


@each("path", ["/;", "/x;y", "/@@x", "/caf\xe9", "//x", "/x/../y", "/a%2f", "/x\n"])
def test_row_111_odd_names_below_an_ignored_or_public_prefix(path: str) -> None:
    """Row 111: what is odd below a prefix stays below it, in every reading."""
    is_free("/static" + path, protect=["/"], ignore=["/static"])
    is_free("/static" + path, protect=["/"], public=["/static"])


# -- public ---------------------------------------------------------------------------------------------------

PUBLIC: dict[str, Any] = {
    "protect": ["/", "/docs/internal"],
    "public": ["/", "/docs", "/docs/internal/faq", "/api/v1/"],
}


@each(
    "path",
    ["/", "/docs", "/docs/", "/docs/x", "/docs/internals", "/docs/internal/faq", "/docs/internal/faq/1", "/api/v1"],
)
def test_public_needs_no_login(path: str) -> None:
    """``public``: the longer of two prefixes decides; ``/`` is the front page alone."""
    is_free(path, **PUBLIC)


@each(
    "path",
    ["/x", "/docs/internal", "/docs/internal/x", "/docsx", "/api", "/api/v12", "/index.html", "//", "/./", "/;x"],
)
def test_what_is_not_public_needs_a_login(path: str) -> None:
    """``public``: what is not below one of its prefixes, or below a longer one of ``protect``, is protected."""
    is_asked_to_log_in(path, **PUBLIC)


def test_the_front_page_is_public_at_a_mount() -> None:
    """``public``: the front page of a mounted site may be asked for without its slash."""
    mount = {"SCRIPT_NAME": "/app"}
    is_free("", environ=mount, base_url=BASE_URL + "/app", protect=["/"], public=["/"])
    is_asked_to_log_in("", environ=mount, base_url=BASE_URL + "/app", protect=["/"], public=["/x"])


def test_somebody_signed_in_is_known_on_a_public_path() -> None:
    """``public``: unlike ``ignore``, the app sees who is there."""
    app = bare(**PUBLIC)
    ann = browser(app)
    ann.sign_in("ann")
    assert ask(app, "/docs", HTTP_COOKIE=ann.cookie).json["user"]["id"] == "ann"


@each(
    "path", ["/docs/../x", "/docs/..;/x", "/docs/@@../x", "/docs/.\xff./x", "docs/../x", "/docs/%2e%2e/x", "/x/../docs"]
)
def test_public_is_no_way_past_protect(path: str) -> None:
    """``public``: a path with several readings is public only if all are."""
    is_asked_to_log_in(path, **PUBLIC)


# -- row 112: prefixes that are refused -------------------------------------------------------------------------


def faults(**options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        ClefMiddleware(
            echo, provider=FakeProvider(), logout_store=MemoryLogoutStore(), **{"base_url": BASE_URL, **options}
        )
    return caught.value.faults


@each("option", ["protect", "public", "ignore"])
@each(
    ("prefix", "plain"),
    [
        *(
            ("/@@x", "/x"),
            ("/a;b", "/a"),
            ("//x", "/x"),
            ("/x/../y", "/y"),
            ("/./x", "/x"),
            ("/x//", "/x"),
            ("/a/@@b", "/a/b"),
        ),
        *(("/%C3%BCber", "/über"), ("/%61dmin", "/admin"), ("/a%2fb", "/a/b"), ("/a\\b", "/a/b"), ("/@@über", "/über")),
    ],
)
def test_row_112_a_prefix_that_is_not_plain_is_refused(option: str, prefix: str, plain: str) -> None:
    """Row 112, row 68: a prefix that no request could have as it is written is refused, with what to write."""
    [fault] = faults(**{option: [prefix]})
    assert fault.startswith(f"{option} must be a list of plain paths")
    assert fault.endswith(f": write {plain} there.")


def test_row_112_an_own_path_that_is_not_plain_is_refused() -> None:
    """Row 112: the same for the four paths of our own."""
    [fault] = faults(login_path="/clef/@@login")
    assert fault.endswith("without a slash at its end: write /clef/login there.")


@each("prefix", ["/\ufffd", "/a\u200b", "/a\u00ad", "/\udc80", "/a\n", "/a b", "/a?b", "/a#b", "x"])
def test_row_112_what_can_be_no_prefix(prefix: str) -> None:
    """Row 112: spaces, signs that nobody sees, a query: refused without a guess."""
    [fault] = faults(protect=[prefix])
    assert fault == 'protect must be a list of plain paths, such as ["/admin", "/account"].'


@each(
    ("options", "sentence"),
    [
        ({"protect": ["/a", "/b"], "public": ["/b/"]}, "public and protect must not both have /b: take it out of one."),
        ({"public": ["/ü"], "ignore": ["/ü"]}, "public and ignore must not both have /ü: take it out of one."),
        ({"public": ["/"], "ignore": ["/"]}, "public and ignore must not both have /: take it out of one."),
    ],
)
def test_row_112_one_prefix_in_two_lists(options: dict[str, Any], sentence: str) -> None:
    """Row 112: nobody could say what it means."""
    assert faults(**options) == (sentence,)


# -- row 83: near misses of our own paths -----------------------------------------------------------------------

NEAR = [
    "/clef/{}/",
    "/CLEF/{}",
    "//clef/{}",
    "/clef//{}",
    "clef/{}",
    "/clef/./{}",
    "/x/../clef/{}",
    "/clef/{};x",
    "/clef/@@{}",
]
NEAR += ["/clef/{}\xff", "/clef/{}\n", "/@@clef/{}//", "x:/clef/{}", "/clef\\{}"]


def near(name: str) -> list[str]:
    """Return near misses of an own path: KELVIN SIGN and LONG S are letters too, once case is folded."""
    folded = name.replace("k", "\u212a").replace("s", "\u017f").encode().decode("latin-1")
    more = ("/clef/" + name.capitalize(), f"/clef/%{ord(name[0]):02x}{name[1:]}", "/CLEF/" + folded)
    return [*(form.format(name) for form in NEAR), *more]


@each("method", ["GET", "POST", "HEAD", "PUT"])
@each("options", [{}, {"ignore": ["/clef"]}, {"protect": ["/"]}, {"protect": ["/"], "public": ["/clef"]}])
def test_row_83_a_near_miss_of_the_webhook(method: str, options: dict[str, Any]) -> None:
    """Row 83: a catch-all app would answer 200, and the logout would be lost: 404 that names the right address."""
    for path in near("webhook"):
        witness = Witness()
        answer = ask(bare(witness, **options), path, method=method, body=b"logout_token=x")
        assert (answer.status, witness.asked) == (404, [])
        if method != "HEAD":
            assert answer.json["error"] == "wrong_address"
            assert BASE_URL + "/clef/webhook" in answer.json["message"]


@each("name", ["login", "logout"])
@each("method", ["GET", "HEAD"])
def test_row_83_a_near_miss_of_login_and_logout_leads_there(name: str, method: str) -> None:
    """Row 83: a person who asks for nearly the right page is led to it, with the query."""
    for path in near(name):
        answer = ask(bare(Witness()), path, method=method, query="next=/notes&x=\xe9%0d")
        assert answer.status == 303
        assert answer.header("Location") == f"{BASE_URL}/clef/{name}?next=/notes&x=%E9%0d"


def test_row_83_a_near_miss_under_a_prefix() -> None:
    """Row 83: the right address has the mount prefix."""
    app = make_app(base_url=BASE_URL + "/app")
    assert ask(app, "/clef/login/", SCRIPT_NAME="/app").header("Location") == BASE_URL + "/app/clef/login"


@each("name", ["login", "logout"])
def test_row_83_a_form_at_a_near_miss_is_refused(name: str) -> None:
    """Row 83: a POST can't be led on; nobody is signed out by it."""
    ann = browser(make_app())
    ann.sign_in("ann")
    answer = ask(ann.app, f"/clef/{name}/", method="POST", HTTP_COOKIE=ann.cookie, HTTP_SEC_FETCH_SITE="same-origin")
    assert (answer.status, answer.json["error"]) == (404, "wrong_address")
    assert ann.user is not None


def test_row_83_a_near_miss_of_the_callback() -> None:
    """Rows 8 and 83: the state is not spent, the code not sent, and the app sees neither."""
    provider, witness = FakeProvider(), Witness()
    ann = browser(bare(witness, provider=provider))
    state = ann.start_login()
    for path in near("callback"):
        answer = ask(ann.app, path, query=f"code=ann&state={state}", HTTP_COOKIE=ann.cookie, **JSON)
        assert (answer.status, answer.json["error"]) == (400, "wrong_callback_address")
        assert BASE_URL + "/clef/callback" in answer.json["message"]
    assert (provider.finishes, witness.asked) == ([], [])
    ann.come_back(state, status=303)


@each(
    "path", ["/clef", "/clef/", "/clef/loginx", "/clef/login/x", "/clef/log", "/x/clef/login", "/login", "/clef/log.in"]
)
def test_row_8_what_is_not_near_is_the_apps(path: str) -> None:
    """Row 8: a near miss equals an endpoint but for its form; all else is the app's."""
    is_free(path)


def test_row_83_own_paths_that_differ_in_case_alone() -> None:
    """Row 83: nobody could say which of the two a near miss means."""
    [fault] = faults(login_path="/in", logout_path="/IN")
    assert "must be four different paths" in fault


@each("path", ["/clef/login/", "/CLEF/login", "/clef/@@logout", "/clef/%2577ebhook", "/clef/Callback"])
def test_rows_18_and_83_a_near_miss_is_no_return_address(path: str) -> None:
    """Row 18: a login never leads back to one of our own paths, nor to what leads there."""
    assert browser(make_app()).sign_in("ann", path).location == BASE_URL + "/"


@each("path", ["/app;x", "/app;x/notes", "/app/;/../../x", "/ap", "/app/@@../../x", "/app\\x"])
def test_row_102_a_return_address_that_only_looks_inside(path: str) -> None:
    """Row 102: ``/app;x`` is outside of ``/app`` to a browser, and inside to a lenient server: the front page."""
    base_url = BASE_URL + "/app"
    assert browser(make_app(base_url=base_url), base_url).sign_in("ann", path).location == base_url + "/"


# -- row 70: a mount prefix that nobody strips ------------------------------------------------------------------


@each(
    "path",
    ["/app", "/app/", "/app/admin", "/app/clef/login", "app/x", "//app/x", "/x/../app/y", "/app;x/y", "/a\xffpp"],
)
@each("script_name", ["", "/", None])
def test_row_70_a_prefix_that_nothing_strips(path: str, script_name: str | None) -> None:
    """Row 70: ``protect`` would be compared with the wrong path: 500 for this request, and the app is not asked."""
    options: dict[str, Any] = {"base_url": BASE_URL + "/app", "ignore": ["/app/static"]}
    is_asked_to_log_in(path, expect=500, environ={"SCRIPT_NAME": script_name, "SERVER_NAME": "x"}, **options)
    is_asked_to_log_in(path, expect=500, environ={"SCRIPT_NAME": script_name}, protect=[], **options)


def test_row_70_says_so_in_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Row 70: one sentence in the log with what to do, whose reference the answer has, at most once a minute."""
    clock = FakeClock()
    app = make_app(base_url=BASE_URL + "/app", clock=clock)
    references = [ask(app, "/app/x", **JSON).json["reference"] for _ in range(9)]
    clock.advance(59)
    references.append(ask(app, "/app/y", **JSON).json["reference"])
    [line] = [record.getMessage() for record in caplog.records]
    assert "PATH_INFO begins with /app: let the front strip it, or set SCRIPT_NAME to it." in line
    assert set(references) == {line[-9:-1]}
    clock.advance(1)
    assert ask(app, "/app/x", **JSON).json["error"] == "prefix_not_stripped"
    clock.advance(-3600)
    assert ask(app, "/app/x", **JSON).status == 500
    assert len(caplog.records) == 3


def test_row_70_is_decided_for_each_request() -> None:
    """Row 70: a health check before, or a stranger's /app/app/y, changes nothing for others."""
    witness = Witness()
    app = bare(witness, base_url=BASE_URL + "/app", protect=["/admin"], ignore=["/health"])
    for _ in range(2):
        assert ask(app, "/health").status == 200
        assert ask(app, "/app/app/y").status == 500
        assert ask(app, "/notes").status == 200
        assert ask(app, "/admin").status == 303
        assert ask(app, "/app/y", SCRIPT_NAME="/app").status == 200
        assert ask(app, "/clef/webhook").status == 405
    assert witness.asked == ["/health", "/notes", "/app/y"] * 2


def test_row_70_own_paths_below_a_prefix_of_the_same_name() -> None:
    """Row 70: at /clef, a front that strips the prefix leaves /clef/login of /clef/clef/login: that is ours."""
    app = make_app(base_url=BASE_URL + "/clef")
    assert ask(app, "/clef/login").status == 303
    assert ask(app, "/clef/clef/login").status == 500


# -- who is told ------------------------------------------------------------------------------------------------


def test_the_login_that_is_asked_for_leads_back_as_far_as_it_can() -> None:
    """A path that is no plain address leads home after the login, and never elsewhere."""
    app = bare(protect=["/"])
    found = {}
    for path in ("/admin", "admin", "//evil.example", "/adm\xffin"):
        [page] = parse_qs(urlsplit(ask(app, path).header("Location") or "").query)["next"]
        found[path] = browser(app).sign_in("ann", page).location
    home = BASE_URL + "/"
    assert found == {"/admin": home + "admin", "admin": home + "admin", "//evil.example": home, "/adm\xffin": home}
