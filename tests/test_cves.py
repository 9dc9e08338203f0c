"""Known vulnerabilities of similar software, replayed against the core: one test for each, named after it."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import (
    BASE_URL,
    NOON,
    PROVIDER_URL,
    SAME_ORIGIN,
    FakeClock,
    FakeProvider,
    ask,
    browser,
    echo,
    is_at_home,
    make_app,
    state_of,
)
from support.cases import each

EVIL = "evil.example"
HOME = BASE_URL + "/"
SECRET_PAGE = b"the content that needs a login"
COOKIE_NAME = "__Host-clef-www-example-com"


def secret_page(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-App", "was here")])
    return [SECRET_PAGE]


# -- redirects that leave the site --------------------------------------------------------------------------

LEAVING = [
    lead + EVIL for lead in ("//", "///", "/\\", "\\\\", "/%2f", "/%5c", "/\t/", "/%09/", "https://", "https:", "@")
]
STRIPPED = [space + "//" + EVIL for space in " \x0b\x0c\t\r\n\x00\x1f\x85\xa0\u2028"]
STRIPPED += ["/" + space + "/" + EVIL for space in " \x0b\x0c\t\r\n\x00"]


@each("address", LEAVING)
def test_cve_2024_42353_a_location_that_joins_to_another_host(address: str) -> None:
    """WebOb joined ``//host`` in ``Location`` to another origin: ours is absolute, so nothing is joined."""
    visitor = browser(make_app())
    location = visitor.come_back(visitor.start_login(address), status=303).headers["Location"]
    assert location == HOME
    assert is_at_home(location)


@each("address", STRIPPED, ids=repr)
def test_webob_495_white_space_before_slashes_that_a_parser_strips(address: str) -> None:
    """WebOb 495: space, VT or FF before ``//`` passed one parser and were stripped by the next: ours leans on none."""
    visitor = browser(make_app())
    assert visitor.come_back(visitor.start_login(address), status=303).headers["Location"] == HOME


def drawn_by(name: str, address: str) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        html = getattr(environ["clef.login"], name)(address)
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [html.encode()]

    return app


@each("address", [*LEAVING, *STRIPPED], ids=repr)
def test_cve_2022_23527_an_open_redirect_in_any_redirect_parameter(address: str) -> None:
    """mod_auth_openidc's logout took any target: here every parameter and method that names one is proven."""
    ended = [browser(make_app()).post("/clef/logout", {"next": address}, headers=SAME_ORIGIN, status=303).location]
    ann = browser(make_app(drawn_by("script_button", address)))
    state = ann.get("/").text.partition('data-state="')[2].partition('"')[0]
    ended.append(ann.come_back(state, status=303).location)
    ann = browser(make_app(drawn_by("button", address)))
    ended.append(ann.come_back(state_of(ann.get("/").click("Log in").location), status=303).location)
    ann = browser(make_app(drawn_by("sign_out_button", address)))
    ended.append(ann.get("/").form.submit(headers=SAME_ORIGIN, status=303).location)
    assert ended == [HOME] * 4


# -- headers that claim something ---------------------------------------------------------------------------

SPOOFED: dict[str, Any] = {
    "HTTP_CLEF_USER": "root",
    "HTTP_CLEF.USER": "root",
    "HTTP_CLEF-USER": "root",
    "HTTP_CLEF_LOGIN": "root",
    "HTTP_REMOTE_USER": "root",
    "HTTP_REMOTE-USER": "root",
    "HTTP_X_REMOTE_USER": "root",
    "HTTP_X_FORWARDED_USER": "root",
    "HTTP_X_FORWARDED-USER": "root",
    "HTTP_X_FORWARDED_EMAIL": "root@example.org",
    "HTTP_AUTHORIZATION": "Basic cm9vdDpyb290",
}


@pytest.mark.parametrize("option", [None, "id"])
def test_cve_2025_64484_headers_in_both_spellings_name_nobody(option: str | None) -> None:
    """Row 35: oauth2-proxy let ``X_Forwarded_User`` through: no header says who somebody is."""
    app = make_app(remote_user=option)
    seen = ask(app, **SPOOFED).json
    assert (seen["user"], seen["login_id"], seen["remote_user"]) == (None, None, None)
    ann = browser(app)
    ann.sign_in("ann")
    seen = ask(app, HTTP_COOKIE=ann.cookie, **SPOOFED).json
    assert (seen["user"]["id"], seen["remote_user"]) == ("ann", None if option is None else "ann")


@pytest.mark.parametrize("path", ["/", "/static/x"])
def test_mod_auth_openidc_222_passing_an_anonymous_request_on_scrubs_what_it_claims(path: str) -> None:
    """mod_auth_openidc 222: ``pass`` mode kept forged identities: ours are written at every request."""
    forged: dict[str, Any] = {"clef.user": {"id": "root"}, "REMOTE_USER": "root", "AUTH_TYPE": "openid-connect"}
    seen = ask(make_app(remote_user="id", ignore=["/static"]), path, **forged, **SPOOFED).json
    assert [seen[name] for name in ("user", "login_id", "remote_user", "auth_type")] == [None] * 4


@each("claimed", ["/health", "/static/x", "/health?", f"https://{EVIL}/health"])
def test_cve_2026_40575_a_path_that_a_header_claims(claimed: str) -> None:
    """oauth2-proxy judged X-Forwarded-Uri: the decision is about the path that the app will serve, and no other."""
    names = ("FORWARDED_URI", "FORWARDED_PATH", "FORWARDED_PREFIX", "ORIGINAL_URL", "ORIGINAL_URI", "REWRITE_URL")
    headers: dict[str, Any] = {f"HTTP_X_{name}": claimed for name in names}
    headers |= {"HTTP_X_FORWARDED_METHOD": "OPTIONS", "HTTP_X_HTTP_METHOD_OVERRIDE": "GET"}
    app = make_app(secret_page, protect=["/private"], ignore=["/health", "/static"])
    for more in ({}, {"REQUEST_URI": claimed, "RAW_URI": claimed, "wsgi.raw_uri": claimed}):
        answer = ask(app, "/private", **{**headers, **more})
        assert (answer.status, answer.header("Location")) == (303, BASE_URL + "/clef/login?next=/private")


@each("path", ["/private", "/private?/health", "/private#/health", "/private/health", "/private;/health"])
@each("query", ["", "/health", "x=/health#/health"])
def test_ghsa_7rh7_and_pxq7_an_ignored_path_in_query_or_fragment(path: str, query: str) -> None:
    """GHSA-7rh7-c77v-6434, GHSA-pxq7-h93f-9jrg: an ignored path somewhere behind the path opens nothing."""
    answer = ask(make_app(secret_page, protect=["/"], ignore=["/health"]), path, query=query)
    assert answer.status == 303


HEALTH_CHECKS = ("GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Clef/1.0 (logout)", "")


@each("agent", HEALTH_CHECKS)
def test_ghsa_5hvv_a_health_checks_user_agent(agent: str) -> None:
    """GHSA-5hvv-m4w4-gf6v: a header of a health check skipped the login: no header's value changes anything here."""
    headers: dict[str, Any] = {"HTTP_USER_AGENT": agent, "HTTP_X_HEALTH_CHECK": "1", "HTTP_FROM": agent}
    answer = ask(make_app(secret_page, protect=["/"]), **headers)
    assert (answer.status, answer.header("Location")) == (303, BASE_URL + "/clef/login?next=/")


# -- cookies ----------------------------------------------------------------------------------------------

_NOISE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
_SESSION = st.sampled_from([COOKIE_NAME, COOKIE_NAME.lower(), "$" + COOKIE_NAME, COOKIE_NAME + "_chunks"])
_VALUES = st.one_of(
    _NOISE, st.sampled_from(["", "a" * 40, "a" * 72, '"', '"\\', "\\377", "..", "../../etc/passwd", "é" * 40])
)
_COOKIES = st.lists(st.tuples(_SESSION, _VALUES).map("=".join), max_size=3).map("; ".join)


@settings(max_examples=70)
@given(
    cookie=st.one_of(_COOKIES, _NOISE, st.tuples(_NOISE, _COOKIES).map(";".join)),
    path=st.sampled_from(["/", "/private"]),
)
def test_cve_2023_28625_a_garbled_cookie_header(cookie: str, path: str) -> None:
    """Row 30: mod_auth_openidc crashed on a crafted ``Cookie``: here any header is nobody's, and never a 5xx."""
    answer = ask(make_app(protect=["/private"]), path, HTTP_COOKIE=cookie)
    assert answer.status == (200 if path == "/" else 303)
    assert answer.status == 303 or answer.json["user"] is None


@each(
    "endpoint", [("GET", "/clef/login"), ("GET", "/clef/callback"), ("POST", "/clef/logout"), ("POST", "/clef/webhook")]
)
@each("value", ["", "x", "a" * 40, "a" * 72, '"\\', "é" * 40, "=;=;", "..", "a" * 9000], ids=lambda value: value[:3])
def test_cve_2023_28625_a_garbled_cookie_at_our_own_endpoints(endpoint: tuple[str, str], value: str) -> None:
    """Row 30: forged, cut and over-long cookies: the endpoints answer as to a stranger."""
    method, path = endpoint
    answer = ask(
        make_app(),
        path,
        method=method,
        query="code=ann&state=x" if path == "/clef/callback" else "",
        body=b"logout_token=ann.1" if method == "POST" else b"",
        HTTP_COOKIE=f"{COOKIE_NAME}={value}",
        HTTP_SEC_FETCH_SITE="same-origin",
    )
    assert answer.status == {"/clef/webhook": 200, "/clef/callback": 400}.get(path, 303)
    assert not (answer.header("Location") or "").startswith("http:")


@each(
    "cookie",
    [
        f"{COOKIE_NAME}_chunks=99999999",
        f"{COOKIE_NAME}=x; {COOKIE_NAME}_chunks=99999999; {COOKIE_NAME}_0=x",
        "; ".join(f"{COOKIE_NAME}_{number}=x" for number in range(2000)),
        "; ".join([f"{COOKIE_NAME}=x"] * 2000),
    ],
    ids=["count", "count and chunk", "many chunks", "many sessions"],
)
def test_cve_2024_24814_a_number_of_chunks_out_of_a_cookie(cookie: str) -> None:
    """mod_auth_openidc looped as often as a cookie said: here no number in a cookie means anything."""
    app = make_app()
    begun = time.thread_time()
    answer = ask(app, HTTP_COOKIE=cookie)
    assert time.thread_time() - begun < 1.0
    assert (answer.status, answer.json["user"]) == (200, None)


@each(("method", "accept"), [("GET", "text/html"), ("GET", "application/json"), ("POST", "text/html")])
def test_ghsa_59jp_content_that_is_sent_along_with_the_login(method: str, accept: str) -> None:
    """GHSA-59jp-rwph-878r: what asks for a login holds no byte and no header of the page that needs it."""
    app = make_app(secret_page, protect=["/"])
    body = b"x=y" if method == "POST" else b""
    answer = ask(app, method=method, body=body, HTTP_ACCEPT=accept)
    assert answer.status in (303, 401)
    assert SECRET_PAGE not in answer.body
    assert answer.header("X-App") is None
    ann = browser(app)
    ann.sign_in("ann")
    assert ask(app, HTTP_COOKIE=ann.cookie).body == SECRET_PAGE


# -- states and persons -----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_a_session", [True, False])
def test_cve_2025_68158_a_state_of_another_browser(has_a_session: bool) -> None:
    """Authlib kept states in a cache for all: a state of browser A is unknown in browser B, session or not."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    attacker, victim = browser(app), browser(app)
    state = attacker.start_login()
    if has_a_session:
        victim.start_login()
    answer = victim.come_back(state, "attacker", status=303 if has_a_session else 400)
    assert not has_a_session or answer.location.startswith(PROVIDER_URL)
    assert provider.finishes == []
    assert victim.user is None


def test_cve_2024_32879_ids_that_differ_in_case() -> None:
    """social-auth merged ids without regard to case: ``Ab`` and ``aB`` are two people, logged out one by one."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    first, second = browser(app), browser(app)
    first.sign_in("Ab")
    second.sign_in("aB")
    first.notify(provider.logout_token("Ab"), status=200)
    assert first.user is None
    assert second.user["id"] == "aB"


def test_cve_2024_32879_a_change_of_case_is_a_change_of_person() -> None:
    """``Ab`` after ``aB`` in one browser finds nothing of the other's session."""
    visitor = browser(make_app())
    visitor.sign_in("Ab")
    visitor.get("/session?diary=secret")
    visitor.sign_in("aB")
    assert visitor.get("/session").json["session"] == {}


def test_cve_2025_61783_two_people_with_one_email() -> None:
    """social-auth joined accounts by e-mail: here the id alone says who somebody is."""
    provider = FakeProvider()
    provider.people = {code: {"id": code, "email": "same@example.org"} for code in ("7", "8")}
    app = make_app(provider=provider)
    first, second = browser(app), browser(app)
    first.sign_in("7")
    second.sign_in("8")
    first.notify(provider.logout_token("7"), status=200)
    assert first.user is None
    assert second.user["id"] == "8"
    first.sign_in("7")
    first.get("/session?diary=secret")
    first.sign_in("8")
    assert first.get("/session").json["session"] == {}


def test_cve_2025_65431_a_name_that_changes_at_the_provider() -> None:
    """allauth keyed by a name that people can change: a rename changes nothing; one notification ends both logins."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    before, after = browser(app), browser(app)
    provider.people = {"x": {"id": "7", "preferred_username": "ann", "email": "ann@example.org"}}
    before.sign_in("x")
    before.get("/session?basket=apples")
    provider.people = {"x": {"id": "7", "preferred_username": "eve", "email": "eve@example.org"}}
    after.sign_in("x")
    before.sign_in("x")
    assert before.get("/session").json["session"] == {"basket": "apples"}
    assert before.user["id"] == after.user["id"] == "7"
    after.notify(provider.logout_token("7"), status=200)
    assert (before.user, after.user) == (None, None)


# -- caches and bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cve", ["CVE-2023-30861", "CVE-2026-27205"])
def test_cve_2023_30861_and_2026_27205_every_answer_varies_by_cookie(cve: str) -> None:
    """Row 36: Flask refreshed sessions without ``Vary: Cookie``: every answer that could differ by it says so."""
    clock, provider = FakeClock(NOON), FakeProvider()
    app = make_app(provider=provider, clock=clock, protect=["/private"])
    ann = browser(app)
    answers = [ann.get(path) for path in ("/", "/session", "/session?x=y", "/private", "/clef/login")]
    answers += [ann.sign_in("ann"), ann.get("/"), ann.get("/session?x=z"), ann.get("/private")]
    answers += [
        ann.get(path, status="*") for path in ("/clef/callback", "/clef/callback?code=a&state=b", "/clef/logout")
    ]
    answers += [ann.notify("x", status=400), ann.notify(provider.logout_token("ann")), ann.get("/"), ann.sign_out()]
    if cve == "CVE-2026-27205":  # asking whether a name is there is reading the session as well
        answers = [browser(make_app(asks_for_a_name)).get("/")]
    for answer in answers:
        (vary,) = answer.headers.getall("Vary")
        assert vary in ("Cookie", "Accept-Language, Cookie")


def asks_for_a_name(environ: Any, start_response: Any) -> Any:
    assert "x" not in environ["beaker.session"]
    return echo(environ, start_response)


class Untouchable(io.BytesIO):
    """A body that nobody may read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("the body was read")


@pytest.mark.parametrize("path", ["/clef/webhook", "/clef/logout"])
def test_cve_2023_25577_a_multipart_body_of_many_parts(path: str) -> None:
    """Row 22: Werkzeug parsed any number of parts: here multipart is 415, and not a byte of it is read."""
    answer = ask(
        make_app(validated=False),
        path,
        method="POST",
        stream=Untouchable(),
        CONTENT_TYPE="multipart/form-data; boundary=x",
        CONTENT_LENGTH="8000",
        HTTP_SEC_FETCH_SITE="same-origin",
    )
    assert answer.status == 415
