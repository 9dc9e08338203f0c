"""The return address: a plain path of this site, or the front page. ``Location`` is ours by two parsers.

The bad addresses are made here, by kind; a good address is one that a person could have been looking at.
"""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import BASE_URL, SAME_ORIGIN, Browser, FakeProvider, ask, browser, is_at_home, make_app, whatwg_origin
from support.cases import each

HOME = BASE_URL + "/"
EVIL = "evil.example"
ENDPOINTS = ("/clef/login", "/clef/logout", "/clef/callback", "/clef/webhook")
APP_URL = "https://www.example.com/app"


def percent(text: str) -> str:
    """Every byte percent-encoded."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


# -- bad addresses, by kind ---------------------------------------------------------------------------------

SLASHES = ("/", "\\", "%2f", "%5C")
CONTROLS = [chr(number) for number in (*range(0x20), *range(0x7F, 0xA0))]
SPACES = list(" \xa0\u1680\u180e\u2000\u2003\u200a\u200b\u200e\u2028\u2029\u202e\u202f\u205f\u3000\ufeff")
DOTS = (".", "..", "%2e", "%2e%2E", ".%2e")
SCHEMES = ("https", "HTTPS", "http", "javascript", "data", "vbscript", "file", "ftp", "blob", "mailto", "ws", "x-app")


def slashes() -> list[str]:
    """Row 15: two or three slashes of any kind before a host, as somebody else's origin begins."""
    runs = itertools.chain(itertools.product(SLASHES, repeat=2), itertools.product(SLASHES, repeat=3))
    return ["".join(run) + EVIL for run in runs]


def controls() -> list[str]:
    """Rows 15 and 17: control characters and unusual spaces, raw and encoded, where parsers drop them."""
    return [
        form
        for character in CONTROLS + SPACES
        for raw in (character, percent(character))
        for form in (f"/{raw}/{EVIL}", f"{raw}//{EVIL}", f"/ok{raw}Set-Cookie:x=y")
    ]


def dots() -> list[str]:
    """Dot segments that a parser takes away from between two slashes."""
    forms = ("/{0}//{1}", "/x/{0}//{1}", "/{0}/\\{1}", "/{0}\\{1}", "/{0}/%2f{1}", "{0}/{1}", "{0}//{1}")
    return [form.format(dot, EVIL) for dot in DOTS for form in forms]


def schemes() -> list[str]:
    """Row 16: anything with a scheme, this site's own included; and addresses that begin like ours."""
    forms = ("{}://", "{}:", "{}:/", "{}:///", "{}:\\\\", " {}://", "\t{}:", "{}\t://", "/{}://", "//{}:", "{}%3a//")
    ours = urlsplit(BASE_URL).netloc
    return [form.format(scheme) + EVIL for scheme in SCHEMES for form in forms] + [
        *(
            f"https://{ours}{rest}"
            for rest in ("", "/", "@evil.example/", ":x@evil.example", ".evil.example", "/notes")
        ),
        *(f"//{ours}{rest}" for rest in ("", "/", "@evil.example", ":80\\@evil.example")),
        *("javascript:alert(1)", "javascript://%0aalert(1)", "data:text/html,<script>alert(1)</script>"),
    ]


def own_endpoints() -> list[str]:
    """Row 18: the middleware's own paths, however they are written: they would loop, or sign out."""
    return [
        form
        for path in ENDPOINTS
        for form in (
            *(
                path + rest
                for rest in ("", "?", "?next=/x", "?code=a&state=b", "#x", ";x", ";x=y?z", "%3bx", "/.", "/./")
            ),
            # Near misses lead there.
            *(path + "/", path.upper(), path.replace("/clef/", "/clef/@@"), "/%63lef%252f" + path[6:]),
            *("/x/.." + path, "/." + path, "/x/y/../.." + path, "/x;y/.." + path, "/x/%2e%2e" + path),
            *("/" + percent(path[1:]), path.replace("/clef/", "/clef%2f"), path.replace("/clef/", "/clef/x/../")),
            *(path.replace("/clef/", "/clef;a=b/"), path + "/x/..", path.replace("/clef/", "/clef/./")),
        )
    ]


def others() -> list[str]:
    """Return addresses that are no path, not valid text, or too long."""
    no_paths = ["", ".", "..", "x", "notes", "?x=1", "#x", "@evil.example", "evil.example/x", ":80/x", "*", "%2fnotes"]
    not_utf8 = ["/%ff", "/%c0%af%c0%afevil.example", "/%e2%82", "/x?%ff", "/x?a=%80", "/%ed%a0%80", "/x#%fe"]
    in_the_query = [
        "/x?\\",
        "/x?%5c",
        "/x#\\\\evil",
        "/x?a b",
        "/x? ",
        "/x#%0d%0aX:y",
        "/x?%00",
        "/x?\u2028",
        "/x?%C2%A0",
    ]
    too_long = ["/" + "a" * 2048, "/?" + "a" * 2048, "/" + "é" * 400, "/" + "x/" * 1100]
    return [*no_paths, *not_utf8, *in_the_query, *too_long]


BAD = list(dict.fromkeys([*slashes(), *controls(), *dots(), *schemes(), *own_endpoints(), *others()]))

# -- good addresses -----------------------------------------------------------------------------------------

PATHS = ("/", "/notes", "/notes/", "/a/b/c.html", "/notes/7;v=2", "/~ann", "/a:b", "/@ann", "/.well-known/x", "/x/../y")
MORE_PATHS = (
    "/%C3%BCber",
    "/über",
    "/日本",
    "/a%2Bb",
    "/a+b,c",
    "/clef",
    "/clef/",
    "/clef/loginx",
    "/...",
)
QUERIES = (
    "",
    "?",
    "?a=1&b=2",
    "?q=a%20b",
    "?q=a+b&q=",
    "?next=https%3A%2F%2Fexample.org%2F",
    "?u=//x&v=/y",
    "?q=é",
    "?%zz",
)
GOOD = [
    *(path + query for path in PATHS + MORE_PATHS for query in QUERIES),
    *(path + "#" + part for path in PATHS for part in ("", "top", "a%20b", "/route?x=1", "é")),
    "/" + "a" * 2047,
]


def as_ascii(address: str) -> str:
    """Return the address as a browser sends it: non-ASCII characters percent-encoded, the rest left alone."""
    return "".join(character if character.isascii() else quote(character) for character in address)


def lead_back(visitor: Browser, next: str) -> str:
    """The ``Location`` at the end of a login with this return address."""
    location: str = visitor.come_back(visitor.start_login(next), status=303).headers["Location"]
    return location


def led_back(app: Any, query: str) -> str | None:
    """The same by hand, with this query at the login's start, in a browser of its own: it is quicker."""
    start = ask(app, "/clef/login", query=query)
    state = parse_qs(urlsplit(start.header("Location") or "").query)["state"][0]
    cookie = (start.header("Set-Cookie") or "").partition(";")[0]
    return ask(app, "/clef/callback", query=f"code=ann&state={state}", HTTP_COOKIE=cookie).header("Location")


def sent_by_logout(app: Any, next: str, *, in_form: bool) -> str | None:
    """The ``Location`` of a sign-out with this return address, in the form or in the query."""
    body, query = (urlencode({"next": next}), "") if in_form else ("x=y", urlencode({"next": next}))
    answer = ask(app, "/clef/logout", method="POST", body=body.encode(), query=query, HTTP_SEC_FETCH_SITE="same-origin")
    assert answer.status == 303
    return answer.header("Location")


# -- the corpora ------------------------------------------------------------------------------------------


def test_the_corpora_are_as_large_as_promised() -> None:
    """At least 600 bad addresses and 100 good ones, each only once."""
    assert len(BAD) >= 600
    assert len(GOOD) == len(set(GOOD)) >= 100
    assert not set(BAD) & set(GOOD)


def test_the_second_parser_sees_through_what_browsers_see_through() -> None:
    """The browser's view in the kit is not blind: it finds the foreign host where ``urllib`` may not."""
    at_evil = (
        f"//{EVIL}",
        f"/\\{EVIL}",
        f"\\\\{EVIL}/x",
        f" //{EVIL}",
        f"/\t/{EVIL}",
        f"\x0b///{EVIL}",
        f"https:\\{EVIL}",
    )
    foreign = [*at_evil, f"HTTPS://{EVIL}", f"https://www.example.com@{EVIL}", f"https:/{EVIL}"]
    assert [whatwg_origin(address, "http://localhost") for address in foreign] == [
        *["http://" + EVIL] * 6,
        *["https://" + EVIL] * 4,
    ]
    assert whatwg_origin("javascript:alert(1)") == "javascript:"
    assert {whatwg_origin(address) for address in ("/x", "x", "?x", "", "https:x", "/x//y\\z")} == {BASE_URL}
    assert not is_at_home(f"https://www.example.com@{EVIL}/")
    assert not is_at_home(f"https://www.example.com\\@{EVIL}/")
    assert is_at_home(HOME)


@pytest.mark.slow
def test_rows_15_to_18_every_bad_return_address_leads_home() -> None:
    """Rows 15 to 18: after a login that was started with a bad address, ``Location`` is the front page, exactly."""
    app = make_app(validated=False)
    assert {bad: got for bad in BAD if (got := led_back(app, urlencode({"next": bad}))) != HOME} == {}


@pytest.mark.parametrize("in_form", [True, False], ids=["form", "query"])
def test_rows_15_to_18_every_bad_address_after_a_logout_leads_home(in_form: bool) -> None:
    """Rows 15 to 18: the same for a sign-out."""
    app = make_app(validated=False)
    short = [bad for bad in BAD if len(bad) < 1500]
    assert {bad: got for bad in short if (got := sent_by_logout(app, bad, in_form=in_form)) != HOME} == {}


def test_every_good_return_address_is_kept() -> None:
    """Paths, queries, fragments, percent-encodings and Unicode come back as they were, on this very origin."""
    app = make_app(validated=False)
    kept = {good: led_back(app, urlencode({"next": good})) or "" for good in GOOD}
    assert {good: got for good, got in kept.items() if got != BASE_URL + as_ascii(good)} == {}
    assert [got for got in kept.values() if not is_at_home(got)] == []


def test_every_good_address_after_a_logout_is_kept() -> None:
    """The same after a sign-out."""
    app = make_app(validated=False)
    short = [good for good in GOOD if len(good) < 1500]
    kept = {good: sent_by_logout(app, good, in_form=True) for good in short}
    assert {good: got for good, got in kept.items() if got != BASE_URL + as_ascii(good)} == {}


# -- by name ----------------------------------------------------------------------------------------------


@each(
    "query",
    [
        "",
        "next",
        "next=",
        "next=/a&next=/b",
        "next=/a&next=",
        "NEXT=/a",
        "next=/%ff",
        "x=%ff&next=/a",
        "next[]=/a",
        "next=/a&" + "&".join(["x="] * 200),
    ],
)
def test_no_return_address_or_two_lead_home(query: str) -> None:
    """One ``next`` counts; none, two, or a query that is no form mean the front page."""
    assert led_back(make_app(), query) == HOME


@each("address", ["/ok%0d%0aSet-Cookie:x=y", "/ok\r\nSet-Cookie: x=y", "/ok\nX: y", "/ok%0aX: y"])
def test_row_17_no_header_is_injected(address: str) -> None:
    """Row 17: a line break in the address, raw or encoded, leads home and adds no header."""
    visitor = browser(make_app())
    answer = visitor.come_back(visitor.start_login(address), status=303)
    assert answer.headers["Location"] == HOME
    assert not any("x=y" in value for value in answer.headers.values())
    assert "X" not in answer.headers


@each("path", [*ENDPOINTS, "/x/../clef/logout", "/clef/callback;x"])
def test_row_18_own_endpoints_lead_home(path: str) -> None:
    """Row 18: coming back to the login would loop, to the callback fail, to the logout sign out."""
    visitor = browser(make_app())
    assert lead_back(visitor, path) == HOME


def test_row_18_own_endpoints_are_known_by_their_configured_names() -> None:
    """Row 18: it is the configured path that is refused, and the usual one is then the app's."""
    visitor = browser(make_app(logout_path="/bye"))
    assert lead_back(visitor, "/bye") == HOME
    assert lead_back(visitor, "/clef/logout") == BASE_URL + "/clef/logout"


FORGED: dict[str, Any] = {
    "HTTP_HOST": EVIL,
    "HTTP_X_FORWARDED_HOST": EVIL,
    "HTTP_X_FORWARDED_PROTO": "http",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
    "HTTP_X_FORWARDED_SERVER": EVIL,
    "HTTP_FORWARDED": f"host={EVIL};proto=http",
    "HTTP_X_ORIGINAL_URL": f"//{EVIL}",
    "SERVER_NAME": EVIL,
    "wsgi.url_scheme": "http",
}


def test_row_19_no_header_moves_the_origin() -> None:
    """Row 19: with ``Host`` and every forwarded header forged, all addresses are the configured ones."""
    provider = FakeProvider()
    app = make_app(provider=provider, protect=["/private"])
    ann = browser(app)
    state = ann.start_login("/notes")
    back = ask(app, "/clef/callback", query=f"code=ann&state={state}", HTTP_COOKIE=ann.cookie, **FORGED)
    assert back.header("Location") == BASE_URL + "/notes"
    assert ask(app, "/clef/login", **FORGED).status == 303
    assert {redirect_url for _, redirect_url in provider.starts} == {BASE_URL + "/clef/callback"}
    protected = ask(app, "/private", query="x=1", **FORGED).header("Location")
    assert protected == BASE_URL + "/clef/login?next=/private%3Fx%3D1"
    out = ask(app, "/clef/logout", method="POST", body=b"next=/bye", **{**FORGED, "HTTP_SEC_FETCH_SITE": "same-origin"})
    assert out.header("Location") == BASE_URL + "/bye"
    page = ask(app, "/clef/callback", query="code=ann&state=unknown", **FORGED)
    assert page.status == 400
    assert EVIL.encode() not in page.body


@each("path", [f"//{EVIL}/x", f"/\\{EVIL}", f"/\t/{EVIL}", f"///{EVIL}", "/x\r\nX: y", "/\xff"])
def test_rows_15_17_19_a_protected_page_with_a_bad_path_leads_to_a_login_that_leads_home(path: str) -> None:
    """Rows 15, 17: the page to come back to is proven like any other return address."""
    app = make_app(protect=["/"])
    location = ask(app, path).header("Location") or ""
    assert location.startswith(BASE_URL + "/clef/login?next=")
    assert location.isascii()
    assert location.isprintable()
    visitor = browser(app)
    [page] = parse_qs(urlsplit(location).query)["next"]
    assert lead_back(visitor, page) == HOME


# -- under a prefix ---------------------------------------------------------------------------------------


@each(
    "address",
    [
        "/",
        "/other",
        "/application",
        "/app/../other",
        "/app/..",
        "/app/%2e%2e/other",
        "/app/x/../../other",
        "/app/./../other",
        "/%61pp/../x",
        "/APP/x",
        "//app/x",
        "/clef/login",
        *("/app" + path for path in ENDPOINTS),
        "/app/x/../clef/logout",
        "/x/../app/clef/logout",
    ],
)
def test_nothing_outside_the_prefix_is_a_return_address(address: str) -> None:
    """Mounted at /app: what is or becomes another path leads to /app/, and so do own endpoints with the prefix."""
    visitor = browser(make_app(base_url=APP_URL), APP_URL)
    assert lead_back(visitor, address) == APP_URL + "/"


@each("address", ["/app", "/app/", "/app/notes?x=1#y", "/app?x=1", "/app/x/../y", "/app/app/x"])
def test_what_is_inside_the_prefix_is_kept(address: str) -> None:
    """Mounted at /app: ``next`` is what the browser shows, prefix included."""
    visitor = browser(make_app(base_url=APP_URL), APP_URL)
    assert lead_back(visitor, address) == "https://www.example.com" + address


# -- any address at all -----------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [*"/\\?#@:;.% \t\r\n\x0b\x00", "//", "..", "%2f", "%5c", "%0d", "%c0", "é", "https:", EVIL, "clef"]
)
_ADDRESSES = st.one_of(st.text(max_size=20), st.lists(_PIECES, max_size=8).map("".join), st.just("/").map("/".__add__))
_FUZZ = settings(max_examples=80)


@pytest.mark.slow
@_FUZZ
@given(next=st.one_of(_ADDRESSES, _ADDRESSES.map("/".__add__)), base_url=st.sampled_from([BASE_URL, APP_URL]))
def test_any_address_leads_to_this_site_by_two_parsers(next: str, base_url: str) -> None:
    """Rows 15 to 18: whatever ``next`` is, ``Location`` is inside the site, and on no endpoint of the middleware."""
    app = make_app(base_url=base_url, validated=False)
    query = urlencode({"next": next}, errors="replace")
    answer = ask(app, "/clef/logout", method="POST", body=b"x=", query=query, HTTP_SEC_FETCH_SITE="same-origin")
    location = answer.header("Location") or ""
    assert answer.status == 303
    assert is_at_home(location)
    assert location.isascii()
    assert location.isprintable()
    path = urlsplit(location).path
    prefix = urlsplit(base_url).path
    assert path == prefix or path.startswith(prefix + "/")
    assert path.removeprefix(prefix) not in ENDPOINTS


def test_a_logout_reads_its_return_address_from_the_form_first() -> None:
    """The form's ``next`` wins over the query's; two in the form are none."""
    app = make_app()
    for body, expected in (("next=/form", "/form"), ("x=y", "/query"), ("next=/a&next=/b", "/"), ("next=", "/")):
        headers = {"HTTP_SEC_FETCH_SITE": SAME_ORIGIN["Sec-Fetch-Site"]}
        answer = ask(app, "/clef/logout", method="POST", body=body.encode(), query="next=/query", **headers)
        assert answer.header("Location") == BASE_URL + expected
