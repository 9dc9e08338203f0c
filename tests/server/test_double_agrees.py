"""``LocalClef`` and the server judge alike: one table of redirect URLs, webhooks and API calls runs against both.

Each row has the decision that the wire protocol wants, so that the two can't be wrong together.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from support.cases import each
from support.delivery import log_out
from support.login_server import Server, make_server
from support.wires import LOCAL_CALLBACK, LOCAL_WEBHOOK, Answer, Wire, local_wire, server_wire

from clef_wsgi.base.authorization_request import s256_challenge
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.records import confirmations, outbox
from clef_wsgi.testing.local_clef.records import LocalApp, Person
from clef_wsgi.testing.local_clef.storage import Storage

SENTENCES = ("Invalid redirect URL.", "The site asked for a login in a way that is not supported here.")
CALLBACK = LOCAL_CALLBACK
VERIFIER = "v" * 43
LONGEST = CALLBACK + "?" + "x" * (2048 - len(CALLBACK) - 1)


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Wire]]:
    """The double and the server, with one site at the same addresses."""
    database: Path = tmp_path_factory.mktemp("double") / "clef.db"
    with local_wire() as local, server_wire(database, LOCAL_CALLBACK, LOCAL_WEBHOOK) as server:
        yield local, server


def agreed(wires: tuple[Wire, Wire], outcome: Callable[[Wire], Any]) -> Any:
    """Return the one outcome of both."""
    local, server = map(outcome, wires)
    assert local == server, f"LocalClef: {local}, the server: {server}"
    return local


# -- redirect URLs ------------------------------------------------------------------------------------------


def judged(wire: Wire, query: str) -> tuple[int, int | str, list[str]]:
    """Return the page's status, where a yes leads (else its status), and which error the page names."""
    page, yes = wire.page(query), wire.say_yes(query)
    leads = "location" in yes.headers or "refresh" in yes.headers
    assert leads == (yes.status < 400)
    texts = [sentence for sentence in SENTENCES if sentence in page.text]
    return page.status, re.sub("code=[^&]*", "code=*", yes.location) if leads else yes.status, texts


def with_ids(wire: Wire, query: str) -> str:
    return query.replace("APP", wire.site.app_id).replace("OTHER", wire.other.app_id)


@each(
    ("redirect_url", "back"),
    [
        (CALLBACK, "?code=*"),
        (CALLBACK + "?login", "?login&code=*"),
        (CALLBACK + "?", "?code=*"),
        (CALLBACK + "?redirect_state=A&b=%41", "?redirect_state=A&b=%41&code=*"),
        (CALLBACK + "?q=é b", "?q=%C3%A9%20b&code=*"),
        (CALLBACK + "?codes=1&estate=2", "?codes=1&estate=2&code=*"),
        (LONGEST, LONGEST[len(CALLBACK) :] + "&code=*"),
    ],
)
def test_allowed_redirect_urls(wires: tuple[Wire, Wire], redirect_url: str, back: str) -> None:
    """S1 to S3: the registered URL, with any query."""
    query = urlencode({"redirect_url": redirect_url})
    assert agreed(wires, lambda wire: judged(wire, with_ids(wire, f"app_id=APP&{query}"))) == (200, CALLBACK + back, [])


@pytest.mark.slow
@each(
    "redirect_url",
    [
        *(
            "",
            "/clef/callback",
            "//localhost:8499/clef/callback",
            "http:/clef/callback",
            "http:localhost:8499/clef/callback",
        ),
        *(
            "https://localhost:8499/clef/callback",
            "http://localhost:8498/clef/callback",
            "http://localhost/clef/callback",
        ),
        *(
            "http://localhost:0/clef/callback",
            "http://localhost:74035/clef/callback",
            "http://localhost:8499x/clef/callback",
        ),
        *(
            "http://local_host:8499/clef/callback",
            "http://localhost.:8499/clef/callback",
            "http://127.0.0.1:8499/clef/callback",
        ),
        *(
            "http://[localhost]:8499/clef/callback",
            "http://localhost[::1]:8499/clef/callback",
            "http://[::1:8499/clef/callback",
        ),
        *("http://localhost:8499.evil.example/clef/callback", "http://evil.example\\@localhost:8499/clef/callback"),
        *("http://user@localhost:8499/clef/callback", "http://localhost:8499@evil.example/clef/callback"),
        *(
            CALLBACK + "/",
            CALLBACK + "x",
            CALLBACK + ";x",
            CALLBACK + "é",
            CALLBACK + "%20",
            CALLBACK + "\t",
            " " + CALLBACK,
        ),
        *(CALLBACK + "#", CALLBACK + "?a\\b", CALLBACK + "?a\x85b", CALLBACK + "?a=\r\nX: y", CALLBACK.upper()),
        *("http://localhost:8499/x/../clef/callback", "http://localhost:8499//clef/callback"),
        *(
            CALLBACK + "?code=1",
            CALLBACK + "?c%6fde",
            CALLBACK + "?a&state=",
            CALLBACK + "?a;code=1",
            CALLBACK + "?State=1",
        ),
        *(
            CALLBACK + "?state[]=1",
            CALLBACK + "?%20code=1",
            LONGEST + "x",
            CALLBACK + "?" + "x" * 2122,
            CALLBACK + "?" + "é" * 400,
        ),
        *("javascript:alert(1)", "data:text/html,x", "myapp://clef/callback", "ftp://localhost:8499/clef/callback"),
    ],
)
def test_refused_redirect_urls(wires: tuple[Wire, Wire], redirect_url: str) -> None:
    """S6, row 61: no open redirect, and no answer that is in the query already."""
    query = urlencode({"redirect_url": redirect_url, "state": "s"})
    refused = (400, 400, [SENTENCES[0]])
    assert agreed(wires, lambda wire: judged(wire, with_ids(wire, f"app_id=APP&{query}"))) == refused


TO = "redirect_url=" + quote(CALLBACK)
CHALLENGE = "code_challenge=" + s256_challenge(VERIFIER)


@each(
    ("query", "outcome"),
    [
        (f"app_id=APP&{TO}&state=a%2Bb%ff", f"{CALLBACK}?code=*&state=a%2Bb%FF"),
        (f"app_id=APP&{TO}%3Fa&app_id=APP&{TO}", f"{CALLBACK}?a&code=*"),
        (f"app_id=APP&{TO}&{CHALLENGE}&code_challenge_method=S256", f"{CALLBACK}?code=*"),
        (f"app_id=APP&{TO}&state={'s' * 4096}", f"{CALLBACK}?code=*&state={'s' * 4096}"),
        (f"app_id=APP&{TO}&state={'s' * 4097}", 0),
        (f"app_id=APP&{TO}&state=a&state=a", 0),
        (f"app_id=APP&{TO}" + "&x=" * 50, 0),
        (f"app_id=APP&app_id=OTHER&{TO}", 0),
        (f"app_id=OTHER&{TO}", 0),
        (f"app_id=&{TO}", 0),
        (TO, 0),
        ("app_id=APP", 0),
        (f"app_id=APP&{TO}&redirect_url=http://evil.example/", 0),
        (f"app_id=APP&{TO}&{CHALLENGE}", 1),
        (f"app_id=APP&{TO}&{CHALLENGE}&code_challenge_method=plain", 1),
        (f"app_id=APP&{TO}&code_challenge=short&code_challenge_method=S256", 1),
        (f"app_id=APP&{TO}&code_challenge=", 1),
        (f"app_id=APP&{TO}&{CHALLENGE}&{CHALLENGE}&code_challenge_method=S256", 0),
    ],
)
def test_authorization_requests(wires: tuple[Wire, Wire], query: str, outcome: str | int) -> None:
    """S1, S4, S5: what may be there twice, PKCE by S256 alone; ``outcome`` is where a yes leads, or the error."""
    expected = (200, outcome, []) if isinstance(outcome, str) else (400, 400, [SENTENCES[outcome]])
    assert agreed(wires, lambda wire: judged(wire, with_ids(wire, query))) == expected


# -- API calls ----------------------------------------------------------------------------------------------


class Site:
    """The calls of a site; what came back is kept, with ids and tokens masked."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.outcomes: list[Any] = []
        self.token = ""

    def call(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        answer = self.wire.call(method, target, body, headers)
        content = json.loads(answer.body) if answer.body else None
        self.token = (content or {}).get("access_token", self.token)
        self.outcomes.append((answer.status, _masked(content), *_headers(answer)))

    def code(self, **more: str) -> str:
        location = self.wire.say_yes(self.wire.site.ask(**more)).location
        return location.partition("code=")[2].partition("&")[0]

    def post(self, name: str, form: Any, **headers: str) -> None:
        self.call("POST", f"/api/v1/{name}", urlencode(form).encode(), headers)

    def authorize(self, code: str | None = None, **more: str) -> None:
        self.post("authorize", {**self.wire.site.credentials, "code": self.code() if code is None else code, **more})

    def info(self, token: str | None = None, **headers: str) -> None:
        self.call("GET", f"/api/v1/info?access_token={self.token if token is None else token}", b"", headers)

    def logout(self, token: str, **more: str) -> None:
        self.post("logout", {**self.wire.site.credentials, "logout_token": token, **more})


def _masked(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {
        key: type(value).__name__ if key in ("access_token", "id", "clef_id") else _masked(value)
        for key, value in content.items()
    }


def _headers(answer: Answer) -> tuple[Any, ...]:
    allow = answer.headers.get("allow")
    kept = [answer.headers.get(name) for name in ("content-type", "cache-control", "location", "retry-after")]
    return *kept, allow and sorted(allow.split(", "))


def _basic(site: Site, password: str | None = None) -> str:
    text = f"{site.wire.site.app_id}:{password or site.wire.site.secret}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def _twice(site: Site, name: str) -> list[tuple[str, str]]:
    fields = {**site.wire.site.credentials, "code": site.code()}
    return [*fields.items(), (name, fields[name])]


def _all_of(*steps: Callable[[Site], object]) -> Callable[[Site], None]:
    def run(site: Site) -> None:
        for step in steps:
            step(site)

    return run


def _reuse(site: Site) -> None:
    code = site.code()
    site.authorize(code)
    site.authorize(code)
    site.info()  # the second use of a code ends the token of the first (RFC 6749, section 4.1.2)


def _keeps_code(**wrong: str) -> Callable[[Site], None]:
    def run(site: Site) -> None:
        code = site.code()
        site.authorize(**{"code": code, **wrong})
        site.authorize(code)

    return run


def _pkce(verifier: str | None, **challenge: str) -> Callable[[Site], None]:
    def run(site: Site) -> None:
        code = site.code(**challenge)
        site.authorize(code, **({} if verifier is None else {"code_verifier": verifier}))
        site.authorize(code, code_verifier=VERIFIER)

    return run


def _other_apps_code(site: Site) -> None:
    code = site.code()
    site.post("authorize", {**site.wire.other.credentials, "code": code})
    site.authorize(code)


def _multipart(site: Site) -> None:
    fields = {**site.wire.site.credentials, "code": site.code()}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    site.call(
        "POST",
        "/api/v1/authorize",
        ("".join(parts) + "--b--\r\n").encode(),
        {"Content-Type": "multipart/form-data; boundary=b"},
    )


def _logout_exchange(site: Site) -> None:
    token = site.wire.logout_token()
    site.logout(token)
    site.logout(token)
    site.logout(token, app_secret="wrong")
    site.post("logout", {**site.wire.other.credentials, "logout_token": token})


def _late_code(site: Site) -> None:
    code = site.code()
    site.wire.advance(60)
    site.authorize(code)


def _late_token(site: Site) -> None:
    code = site.code()
    site.wire.advance(59)
    site.authorize(code)
    site.wire.advance(599)
    site.info()
    site.wire.advance(1)
    site.info()


def _logged_out(site: Site) -> None:
    site.authorize()
    code = site.code()
    site.wire.log_out()
    site.authorize(code)
    site.info()


def _wrong_methods(site: Site) -> None:
    wrong = {"authorize": ("GET", "HEAD", "OPTIONS"), "info": ("PUT",), "logout": ("DELETE",)}
    for name, methods in wrong.items():
        for method in methods:
            site.call(method, f"/api/v1/{name}")


def _no_calls(site: Site) -> None:
    for path in ("v1/authorize/", "v1/", "", "v2/info", "v1//info", "v1/INFO"):
        site.call("POST", f"/api/{path}")


S256 = {"code_challenge": s256_challenge(VERIFIER), "code_challenge_method": "S256"}
SCENARIOS: dict[str, tuple[Callable[[Site], object], list[int]]] = {
    "a login": (_all_of(Site.authorize, Site.info), [200, 200]),
    "in the words of OAuth": (
        lambda site: site.post(
            "authorize",
            {
                "grant_type": "authorization_code",
                "redirect_uri": "x",
                "code": site.code(),
                "client_id": site.wire.site.app_id,
                "client_secret": site.wire.site.secret,
            },
        ),
        [200],
    ),
    "HTTP Basic": (lambda site: site.post("authorize", {"code": site.code()}, Authorization=_basic(site)), [200]),
    "Basic, wrong": (lambda site: site.post("authorize", {"code": "x"}, Authorization=_basic(site, "x")), [403]),
    "Basic, odd": (lambda site: site.post("authorize", {"code": "x"}, Authorization="Basic /w=="), [403]),
    "multipart": (_multipart, [200]),
    "text/plain": (
        lambda site: site.post("authorize", _twice(site, "code")[:3], **{"Content-Type": "text/plain"}),
        [403],
    ),
    "JSON": (lambda site: site.call("POST", "/api/v1/authorize", b"{}", {"Content-Type": "application/json"}), [403]),
    "nothing": (lambda site: site.call("POST", "/api/v1/authorize"), [403]),
    "too much": (lambda site: site.call("POST", "/api/v1/authorize", b"x=" + b"x" * 65_536), [413]),
    "bytes": (lambda site: site.call("POST", "/api/v1/authorize", b"app_id=\xff&app_secret=%ff"), [403]),
    "a form that is no UTF-8 says nothing": (
        lambda site: site.call(
            "POST", "/api/v1/authorize", f"code={site.code()}&x=".encode() + b"\xff", {"Authorization": _basic(site)}
        ),
        [403],
    ),
    "a form's type in capitals": (
        lambda site: site.post(
            "authorize", _twice(site, "code")[:3], **{"Content-Type": "Application/X-WWW-Form-URLencoded; x"}
        ),
        [200],
    ),
    "code twice": (lambda site: site.post("authorize", _twice(site, "code")), [403]),
    "app id twice": (lambda site: site.post("authorize", _twice(site, "app_id")), [403]),
    "secret twice": (lambda site: site.post("authorize", _twice(site, "app_secret")), [403]),
    "unknown app": (_keeps_code(app_id="0" * 32), [403, 200]),
    "wrong secret": (_keeps_code(app_secret="wrong"), [403, 200]),
    "NUL": (_keeps_code(app_secret="\0"), [403, 200]),
    "unknown code": (lambda site: site.authorize("unknown"), [403]),
    "another app's code": (_other_apps_code, [403, 200]),
    "a code used twice": (_reuse, [200, 403, 403]),
    "PKCE": (_pkce(VERIFIER, **S256), [200, 403]),
    "PKCE without a verifier consumes the code": (_pkce(None, **S256), [403, 403]),
    "PKCE with a wrong one": (_pkce("w" * 43, **S256), [403, 403]),
    "a verifier without a challenge": (_pkce(VERIFIER), [403, 403]),
    "a webhook of one's own": (lambda site: site.authorize(logout_hook="http://localhost:8499/my?hook=1"), [200]),
    "a webhook and no code": (lambda site: site.authorize("x", logout_hook="http://evil.example/"), [400]),
    "a webhook twice": (
        lambda site: site.post("authorize", [*_twice(site, "code")[:3], *[("logout_hook", LOCAL_WEBHOOK)] * 2]),
        [400],
    ),
    "info by Bearer": (
        _all_of(Site.authorize, lambda site: site.info("", Authorization=f"bearer {site.token}")),
        [200, 200],
    ),
    "info by HEAD": (
        _all_of(Site.authorize, lambda site: site.call("HEAD", f"/api/v1/info?access_token={site.token}")),
        [200, 200],
    ),
    "info without a token": (lambda site: site.call("GET", "/api/v1/info"), [403]),
    "info with a token twice": (
        _all_of(Site.authorize, lambda site: site.info(f"{site.token}&access_token={site.token}")),
        [200, 403],
    ),
    "info of a form": (lambda site: site.post("info", {"access_token": "x"}), [405]),
    "an exchange of a logout token": (_logout_exchange, [200, 200, 403, 400]),
    "the dashboard's test token": (lambda site: site.logout("1234567890"), [400]),
    "no logout token": (lambda site: site.post("logout", site.wire.site.credentials), [400]),
    "logout of nobody": (lambda site: site.post("logout", {"logout_token": "x"}), [403]),
    "wrong methods": (_wrong_methods, [405] * 5),
    "no such calls": (_no_calls, [404] * 6),
    "a code after a minute": (_late_code, [403]),
    "a token of a code that waited": (_late_token, [200, 200, 403]),
    "a code and a token after a logout": (_logged_out, [200, 403, 403]),
}


@pytest.mark.slow
@each("name", SCENARIOS)
def test_api_calls(wires: tuple[Wire, Wire], name: str) -> None:
    """S7, S8, S11 and the table of errors: status, body and headers are the same, and as the protocol wants them."""
    run, statuses = SCENARIOS[name]

    def outcomes(wire: Wire) -> list[Any]:
        site = Site(wire)
        run(site)
        return site.outcomes

    assert [outcome[0] for outcome in agreed(wires, outcomes)] == statuses


@each(
    ("webhook", "status"),
    [
        *(
            (url, 200)
            for url in (LOCAL_WEBHOOK, "http://localhost:8499", "HTTP://LOCALHOST:8499/x?a=b", CALLBACK + "?code=1")
        ),
        *(
            (url, 400)
            for url in ("", "x", "/x", "//localhost:8499/x", "http:localhost:8499", "http://localhost:8498/x")
        ),
        *(
            (url, 400)
            for url in ("https://localhost:8499/x", "http://127.0.0.1:8499/x", "http://localhost.:8499/x", "http://[")
        ),
        *(
            (url, 400)
            for url in ("http://u@localhost:8499/x", "http://localhost:8499\\.evil.example/", LOCAL_WEBHOOK + "#x")
        ),
        *((url, 400) for url in (LOCAL_WEBHOOK + "é", LOCAL_WEBHOOK + "?" + "x" * 2048, "javascript:alert(1)")),
    ],
)
def test_webhooks_of_one_login(wires: tuple[Wire, Wire], webhook: str, status: int) -> None:
    """Section 2: a webhook for one login has the scheme, host and port of the app."""

    def outcome(wire: Wire) -> Any:
        site = Site(wire)
        site.authorize(logout_hook=webhook)
        return site.outcomes[0]

    assert agreed(wires, outcome)[0] == status


# -- confirmations ------------------------------------------------------------------------------------------


class ServerRow:
    """The delivery of one logout in the server's outbox, attempt by attempt."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.site = server.add_site()
        browser = server.browser(signed_in=server.add_person())
        server.log_in(self.site, browser)
        log_out(browser)
        self.token = self.row.token

    @property
    def row(self) -> Any:
        (row,) = self.server.rows(deliveries, deliveries.c.app_id == self.site.app_id)
        return row

    def begin(self) -> None:
        self.server.clock.advance(60)
        now, row = self.server.clock(), self.row
        with self.server.database.writing() as connection:
            if row.waits_until is not None:
                confirmations.record_no_exchange(connection, row.id, next_at=now, now=now)
            (self.notification,) = outbox.claim(
                connection, app_id=self.site.app_id, worker="w", now=now, lease_us=1, limit=1
            )

    def answer(self, status: int) -> None:
        now = self.server.clock()
        with self.server.database.writing() as connection:
            if 200 <= status < 400:
                confirmations.record_answer(connection, self.notification, status=status, now=now)
            else:
                confirmations.record_failure(
                    connection, self.notification, failure=f"http_{status}", status=status, next_at=now, now=now
                )

    def exchange(self) -> None:
        fields = {**self.site.credentials, "logout_token": self.token}
        assert self.server.browser().post("/api/v1/logout", fields).status_int == 200

    @property
    def confirmed(self) -> bool:
        return bool(self.row.state == outbox.CONFIRMED)


class LocalToken:
    """The logout token of one logout in ``LocalClef``, attempt by attempt."""

    def __init__(self) -> None:
        self.storage = Storage([Person("Ann")], lambda: 0.0)
        self.app = self.storage.apps["a"] = LocalApp("a", "s")
        self.token = self.storage.issue_logout_token(self.storage.people["Ann"], "a")

    def begin(self) -> None:
        self.attempt = self.storage.begin_attempt(self.token)

    def answer(self, status: int) -> None:
        self.storage.note_answer(self.token, self.attempt, status)

    def exchange(self) -> None:
        self.storage.exchange_logout_token(self.app, self.token.text)

    @property
    def confirmed(self) -> bool:
        return self.token.confirmed_at is not None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("rows") / "clef.db")
    yield server
    server.close()


@pytest.mark.slow
@each(
    ("steps", "confirmed"),
    [
        ("begin exchange 200", True),
        ("begin exchange 302", True),
        ("begin 200 exchange", True),
        ("begin 399 exchange exchange", True),
        ("begin 200", False),
        ("begin exchange", False),
        ("begin exchange 500", False),
        ("begin 404 exchange", False),
        ("exchange begin 200", False),
        ("begin exchange 500 begin 200", False),
        ("begin exchange 500 begin 200 exchange", True),
        ("begin 200 begin exchange", False),
        ("begin 200 begin exchange 500", False),
        ("begin 200 begin exchange 204", True),
        ("begin 500 exchange begin 200", False),
    ],
)
def test_confirmations(server: Server, steps: str, confirmed: bool) -> None:
    """S12, rows 87 to 89: 2xx or 3xx, and an exchange after the same attempt began, in either order."""
    for delivery in (LocalToken(), ServerRow(server)):
        for step in steps.split():
            getattr(delivery, step)() if step.isalpha() else delivery.answer(int(step))
        assert delivery.confirmed is confirmed, delivery
