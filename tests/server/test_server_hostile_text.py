"""Text that a database can't hold, or nobody can see, wherever a visitor may put it: refused, and never a 500."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.authenticator import Authenticator
from support.cases import each
from support.login_server import ORIGIN, SAME_ORIGIN, Browser, Server, make_server, postgresql, token_of
from support.passkeys import Visitor, enrolled, link

from clef_wsgi.server import Limits
from clef_wsgi.server.database.schema import sessions


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """On PostgreSQL, whose texts hold no NUL and nothing but Unicode."""
    with postgresql() as url:
        server = make_server(url, limits=Limits(sign_in=10_000, enrolment=10_000, account=10_000))
        yield server
        server.close()


TEXTS = {"NUL": "%00", "NUL within": "a%00b", "no UTF-8": "%ff%fe", "half a character": "%ed%a0%80", "lines": "%0d%0a"}


def client(server: Server, browser: Browser) -> Callable[..., int]:
    """That browser, without webtest's own reading of what it sends; returns the status."""
    kept = "; ".join(f"{name}={value}" for name, value in browser.web.cookies.items())

    def ask(path: str, form: dict[str, str] | None = None, **environ: str) -> int:
        said = {"HTTP_COOKIE": kept, "HTTP_HOST": "login.example.com", "HTTP_SEC_FETCH_SITE": "same-origin", **environ}
        method = "GET" if form is None else "POST"
        answer = server.app.test_client(use_cookies=False).open(
            path, method=method, data=form, base_url=ORIGIN, environ_overrides=said
        )
        return answer.status_code

    return ask


@pytest.mark.slow
@each("text", TEXTS.values())
def test_row_94_in_any_path(server: Server, text: str) -> None:
    """Row 94: every address of the server with that in place of a value, at its end, and in its query: never a 500."""
    browser = server.browser(signed_in=server.add_person())
    token, ask, seen = browser.form_token(), client(server, browser), 0
    for rule in server.app.url_map.iter_rules():
        path = "/".join(text if "<" in part else part for part in str(rule).split("/"))
        for address in (path, f"{path}{text}", f"{path}?{text}={text}&access_token={text}&app_id={text}&state={text}"):
            if address.partition("?")[0] == "/log-out":
                continue  # that one logs out
            statuses = [ask(address), ask(address, {"token": token})]
            assert max(statuses) < 500, (address, statuses)
            if "%00" in address.partition("?")[0]:
                assert min(statuses) >= 400, (address, statuses)
            seen += len(statuses)
    assert seen > 80


FORMS: dict[str, tuple[str, ...]] = {
    "/names": ("first_name", "last_name"),
    "/stay": ("stay",),
    "/passkeys/{passkey}/rename": ("name",),
    "/iframes/approve?{query}": ("late",),
    "/log-out": ("other",),
    "/sites/{app}/log-out": ("other",),
    "/api/v1/authorize": ("app_id", "app_secret", "code", "logout_hook", "code_verifier", "client_id", "grant_type"),
    "/api/v1/logout": ("app_id", "app_secret", "logout_token"),
}


@each("text", ["\0", "a\0b", "\ud800"], ids=repr)
def test_row_94_in_any_form_field(server: Server, text: str) -> None:
    """Row 94: a form's field, the token included; nothing is written, nobody is logged out."""
    ann, site = server.add_person("Ann"), server.add_site()
    enrolled(server, ann)
    browser = server.browser(signed_in=ann)
    page = browser.get("/")
    number = server.rows(sessions)[-1].passkey_id or 1
    for address, fields in FORMS.items():
        path = address.format(passkey=number, query=site.ask(), app=site.app_id)
        for field in (*fields, "token"):
            if path == "/log-out" and field != "token" and "\0" not in text:
                continue  # that one logs out
            known = site.credentials if path.startswith("/api/") else {"token": token_of(page)}
            form = {**known, field: text.encode(errors="surrogatepass")}
            answer = browser.post(path, form, headers=SAME_ORIGIN)  # type: ignore[arg-type]
            assert 200 <= answer.status_int < 500, (path, field, answer.text)
            if "\0" in text:
                assert answer.status_int >= 400, (path, field)
    assert "Log out everywhere" in browser.get("/").text


@each("agent", ["Mozilla\0/5.0", "\0", "a\x7f\x80\x9fb", "\xff\xfe"], ids=repr)
def test_row_94_in_the_browsers_name(server: Server, agent: str) -> None:
    """Row 94: what a browser calls itself is kept as far as it can be printed; the sign-in succeeds."""
    ann, visitor = server.add_person(), Visitor(server)
    passkey = enrolled(server, ann)
    visitor.web.extra_environ["HTTP_USER_AGENT"] = agent
    assert visitor.sign_in(passkey).status_int == 200
    assert visitor.is_signed_in()
    assert server.rows(sessions)[-1].user_agent.isprintable()
    new = Visitor(server)
    new.web.extra_environ["HTTP_USER_AGENT"] = agent
    assert new.enrol(link(server, server.add_person()), Authenticator(server.origin)).status_int == 200


@each("header", ["ACCEPT_LANGUAGE", "X_FORWARDED_FOR", "COOKIE", "HOST", "REFERER", "X_CLEF_TOKEN", "AUTHORIZATION"])
def test_row_94_in_any_other_header(server: Server, header: str) -> None:
    """Row 94: no header that is read brings an error about."""
    ask = client(server, server.browser())
    for path in ("/", "/api/v1/info", "/nothing", "/receipts"):
        assert ask(path, **{f"HTTP_{header}": "a\0b"}) < 500, path
