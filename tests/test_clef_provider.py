"""The Clef provider: its addresses, its three calls, and every answer that they may get."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import html.parser
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from hypothesis import given, settings
from hypothesis import strategies as st
from responses.matchers import query_param_matcher, urlencoded_params_matcher
from support.cases import each
from support.peers import Peer, Script, Talk, answer, floods, hangs, json_answer, says

from clef_wsgi.base.errors import (
    ClaimRejected,
    ClefError,
    CodeRejected,
    ConfigurationError,
    LoginRefused,
    LogoutRefused,
    ProviderUnavailable,
)
from clef_wsgi.interfaces import Identity, IdentityProvider, Logout
from clef_wsgi.providers.clef import ClefProvider

SERVER = "https://login.example.com"
APP_ID = "0123456789abcdef0123456789abcdef"
APP_SECRET = "the-s3cr3t-of-the-app"
CODE, TOKEN, LOGOUT_TOKEN = "the-c0de", "the-acc3ss-token", "the-log0ut-token"
CALLBACK = "https://www.example.com/clef/callback"
PERSON = {"id": 12345, "email": "ann@example.com", "first_name": "Ann"}

AUTHORIZED = {"success": True, "access_token": TOKEN}
INFO = {"success": True, "info": PERSON}
LOGGED_OUT = {"success": True, "clef_id": 12345}


def provider(**options: Any) -> ClefProvider:
    return ClefProvider(**{"app_id": APP_ID, "app_secret": APP_SECRET, "server_url": SERVER, **options})


def finish(clef: ClefProvider, **query: str) -> Identity:
    return clef.finish_login({"code": CODE, "state": "s", **query}, {}, CALLBACK)


def read(clef: ClefProvider, token: str = LOGOUT_TOKEN) -> Logout:
    return clef.read_logout({"logout_token": token})


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    """The Clef server, answer by answer."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def authorize(server: responses.RequestsMock, document: object = AUTHORIZED, status: int = 200) -> None:
    server.post(f"{SERVER}/api/v1/authorize", json=document, status=status)


def info(server: responses.RequestsMock, document: object = INFO, status: int = 200) -> None:
    server.get(f"{SERVER}/api/v1/info", json=document, status=status)


def logout(server: responses.RequestsMock, document: object = LOGGED_OUT, status: int = 200) -> None:
    server.post(f"{SERVER}/api/v1/logout", json=document, status=status)


def paths(server: responses.RequestsMock) -> list[str]:
    return [urlsplit(str(call.request.url)).path for call in server.calls]


# ---------------------------------------------------------------------------------------------- options


def test_all_faults_at_once() -> None:
    """One error names every option that can't work, those of the network too, and none of their values."""
    with pytest.raises(ConfigurationError) as caught:
        ClefProvider(
            app_id="",
            app_secret=[APP_SECRET, ""],
            server_url="http://user:pass-word@login.example.com/?a=b#c",
            timeout_seconds=-1,
            ca_file="/nowhere.pem",
            proxy_url="proxy",
            allow_http_hosts="login.example.com",
        )
    names = [fault.split()[0] for fault in caught.value.faults]
    assert names == [
        "app_id",
        "app_secret",
        *["server_url"] * 4,
        "timeout_seconds",
        "ca_file",
        "proxy_url",
        "allow_http_hosts",
    ]
    assert APP_SECRET not in str(caught.value)
    assert "pass-word" not in str(caught.value)


@each("app_id", [None, 5, "", "a b", "a\n", "é", "x" * 256])
def test_app_id_is_plain_text(app_id: Any) -> None:
    """An id that would need care in a URL or an attribute is none that a server gave."""
    with pytest.raises(ConfigurationError, match="app_id must be the id"):
        provider(app_id=app_id)


@each("secret", [None, b"x", "", " ", "x\n", " x", [], (), [""], ["x", None], {"x"}, "é"])
def test_app_secret_is_never_empty(secret: Any) -> None:
    """Nor has it the line end of the file it came from: the server would only say that it is wrong."""
    with pytest.raises(ConfigurationError, match="app_secret must be the secret"):
        provider(app_secret=secret)


def test_it_is_an_identity_provider() -> None:
    """It keeps the contract's names, and shows no secret."""
    clef = provider(server_url=f"{SERVER}/clef/")
    assert isinstance(clef, IdentityProvider)
    assert repr(clef) == f"ClefProvider(server_url='{SERVER}/clef', app_id='{APP_ID}')"


# -------------------------------------------------------------------------------------------- login begins


@each("prefix", ["", "/", "/clef", "/clef/"])
def test_start_login(prefix: str, server: responses.RequestsMock) -> None:
    """The plain address, with everything escaped; a path prefix is kept; nothing is asked."""
    server.reset()
    state, redirect_url = "a+/=&%b", "https://www.example.com/x y?q=1&r=é#f"
    start = provider(server_url=SERVER + prefix).start_login(state, redirect_url)
    parts = urlsplit(start.url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{SERVER}{prefix.rstrip('/')}/iframes/qr"
    assert parse_qs(parts.query) == {"app_id": [APP_ID], "redirect_url": [redirect_url], "state": [state]}
    assert " " not in start.url
    assert parts.fragment == ""
    assert start.provider_state == {}
    assert state not in repr(start)
    assert len(server.calls) == 0


class _Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_button_tag() -> None:
    """The original script tag; what could break out of an attribute does not."""
    state, redirect_url = """"><script>'""", "https://www.example.com/cb?a=1&b=2"
    tag = provider().button_tag(state, redirect_url)
    assert _Tags(tag).tags == [
        (
            "script",
            {
                "type": "text/javascript",
                "class": "clef-button",
                "src": f"{SERVER}/v3/clef.js",
                "data-app-id": APP_ID,
                "data-redirect-url": redirect_url,
                "data-state": state,
            },
        )
    ]
    assert tag.endswith("></script>")


# ---------------------------------------------------------------------------------------------- login ends


def test_r1_code_for_token_for_person(server: responses.RequestsMock) -> None:
    """R1: the code and the secret go into one POST, the token into one GET, and a person comes out."""
    form = {"code": CODE, "app_id": APP_ID, "app_secret": APP_SECRET}
    authorize_url, info_url = f"{SERVER}/api/v1/authorize", f"{SERVER}/api/v1/info"
    server.post(authorize_url, json=AUTHORIZED, match=[urlencoded_params_matcher(form)])
    server.get(info_url, json=INFO, match=[query_param_matcher({"access_token": TOKEN})])
    identity = finish(provider())
    assert identity.user == {"id": "12345", "email": "ann@example.com", "first_name": "Ann"}
    assert identity.keys == ()
    assert paths(server) == ["/api/v1/authorize", "/api/v1/info"]


def test_over_the_wire() -> None:
    """The same on real sockets, under a path prefix: no credential stands anywhere but where it has to."""
    with Peer(says(json_answer(AUTHORIZED)), says(json_answer(INFO))) as peer:
        assert finish(provider(server_url=f"{peer.url}/clef")).user["id"] == "12345"
    first, second = peer.requests
    assert (first.method, first.target) == ("POST", "/clef/api/v1/authorize")
    assert first.form == {"code": [CODE], "app_id": [APP_ID], "app_secret": [APP_SECRET]}
    assert (second.method, second.path, second.body) == ("GET", "/clef/api/v1/info", b"")
    assert second.query == {"access_token": [TOKEN]}
    assert not {"authorization", "cookie", "referer"} & {*first.headers, *second.headers}


@each("code", ["", "c" * 8193, "c" * 100_000, "a\0b", "a\r\nb", "\xff", "a\u2028", "\ud800"])
def test_row_6_impossible_codes(code: str, server: responses.RequestsMock) -> None:
    """Row 6: what no server could have given is refused without asking one."""
    server.reset()
    with pytest.raises(CodeRejected):
        finish(provider(), code=code)
    assert len(server.calls) == 0


@each("code", ["c" * 8000, "c" * 8192, "~ " * 4000])
def test_row_84_long_codes(code: str, server: responses.RequestsMock) -> None:
    """Row 84: a code of up to 8 KiB is passed on as it is."""
    server.reset()
    form = {"code": code, "app_id": APP_ID, "app_secret": APP_SECRET}
    server.post(f"{SERVER}/api/v1/authorize", json=AUTHORIZED, match=[urlencoded_params_matcher(form)])
    info(server)
    assert finish(provider(), code=code).user["id"] == "12345"


def test_row_1_no_code(server: responses.RequestsMock) -> None:
    """Row 1, R4: nothing to ask with."""
    with pytest.raises(CodeRejected):
        provider().finish_login({"state": "s"}, {}, CALLBACK)
    assert len(server.calls) == 0


def test_row_4_error_in_the_query(server: responses.RequestsMock) -> None:
    """Row 4: a callback with an error is no login, even with a code."""
    with pytest.raises(LoginRefused) as caught:
        finish(provider(), error="access_denied")
    assert caught.value.reason == "provider_error"
    assert len(server.calls) == 0


@each("status", [200, 400, 401, 403, 404])
@each(
    ("text", "kind", "reason"),
    [
        ("Invalid OAuth Code.", CodeRejected, "code_rejected"),
        ("Invalid App ID.", ProviderUnavailable, "provider_refused_app"),
        ("Invalid App Secret.", ProviderUnavailable, "provider_refused_app"),
        ("Invalid App.", ProviderUnavailable, "provider_refused_app"),
        ("Invalid logout hook URL.", ProviderUnavailable, "provider_answer"),
        ("Invalid Logout Token.", ProviderUnavailable, "provider_answer"),
        ("invalid oauth code.", ProviderUnavailable, "provider_answer"),
        ("Invalid OAuth Code", ProviderUnavailable, "provider_answer"),
        ("", ProviderUnavailable, "provider_answer"),
        (None, ProviderUnavailable, "provider_answer"),
        (["Invalid OAuth Code."], ProviderUnavailable, "provider_answer"),
        ({"a": 1}, ProviderUnavailable, "provider_answer"),
    ],
)
def test_r5_errors_of_authorize(
    text: object, kind: type[ClefError], reason: str, status: int, server: responses.RequestsMock
) -> None:
    """R5: the exact text decides, whatever the status; an error beside ``success`` is an error."""
    server.reset()
    authorize(server, {**AUTHORIZED, "error": text}, status)
    info(server)
    with pytest.raises(kind) as caught:
        finish(provider())
    assert caught.value.reason == reason
    assert paths(server) == ["/api/v1/authorize"]


@each(
    "document",
    [
        {"access_token": None},
        {**AUTHORIZED, "success": False},
        {**AUTHORIZED, "success": 0},
        {**AUTHORIZED, "success": 0.0},
        {**AUTHORIZED, "success": [1]},
        {**AUTHORIZED, "success": "true"},
        {**AUTHORIZED, "success": None},
        {"success": True},
        {"success": True, "access_token": None},
        {"success": True, "access_token": ""},
        {"success": True, "access_token": 5},
        {"success": True, "access_token": [TOKEN]},
        {"success": True, "access_token": "a\r\nb"},
        {"success": True, "access_token": "é"},
        {"success": True, "access_token": "t" * 2049},
    ],
)
def test_r5_authorize_that_is_no_success(document: object, server: responses.RequestsMock) -> None:
    """R5, row 41: without success and a usable token nobody is asked about."""
    server.reset()
    authorize(server, document)
    info(server)
    with pytest.raises(ProviderUnavailable) as caught:
        finish(provider())
    assert caught.value.reason == "provider_answer"
    assert paths(server) == ["/api/v1/authorize"]


@each("success", [{}, {"success": True}, {"success": 1}, {"success": 1.0}, {"success": 200}])
def test_success_that_is_missing_or_a_number(success: dict[str, Any], server: responses.RequestsMock) -> None:
    """Old clients never looked at it: what an answer has to hold, and no ``error``, is enough in all three calls."""
    server.reset()
    authorize(server, {"access_token": TOKEN, **success})
    info(server, {"info": PERSON, **success})
    logout(server, {"clef_id": 12345, **success})
    assert finish(provider()).user["id"] == "12345"
    assert read(provider()).keys == (provider().user_key("12345"),)


@each("pack", [gzip.compress, lambda body: body], ids=["gzip", "plain"])
def test_a_proxy_that_packs_and_marks(pack: Callable[[bytes], bytes]) -> None:
    """Gzip that nobody asked for and a byte order mark, as some servers in front add, are read."""
    coding = {} if pack(b"") == b"" else {"Content_Encoding": "gzip"}
    scripts = [
        says(answer(pack(json.dumps(document).encode("utf-8-sig")), **coding))
        for document in (AUTHORIZED, INFO, LOGGED_OUT)
    ]
    with Peer(*scripts) as peer:
        clef = provider(server_url=peer.url)
        assert finish(clef).user["id"] == "12345"
        assert read(clef).keys == (clef.user_key("12345"),)


@each("status", [201, 202, 206, 400, 403])
def test_success_has_status_200(status: int, server: responses.RequestsMock) -> None:
    """A body that says success does not make a success of another status."""
    server.reset()
    authorize(server, AUTHORIZED, status)
    with pytest.raises(ProviderUnavailable) as caught:
        finish(provider())
    assert (caught.value.reason, vars(caught.value)["http_status"]) == ("provider_answer", status)


def test_check_of_a_login_page_that_is_down() -> None:
    """A page that can't be shown is trouble of the server: it is no answer about the redirect address."""
    with Peer(says(json_answer({"error": "Invalid OAuth Code."})), says(answer(b"", "503 Later"))) as peer:
        found = provider(server_url=peer.url).check_peer(CALLBACK)
        assert next(found)[0] == "ok"
        with pytest.raises(ProviderUnavailable) as caught:
            next(found)
    assert caught.value.reason == "provider_unavailable"


@each(
    ("script", "reason"),
    [
        pytest.param(says(answer(b"<h1>Oops</h1>", "500 Oops")), "provider_unavailable", id="500"),
        pytest.param(says(answer(b"<h1>Welcome</h1>")), "provider_answer", id="HTML"),
        pytest.param(says(json_answer({"error": "Oops"})), "provider_answer", id="200 with an error"),
        pytest.param(hangs(), "provider_timeout", id="hangs"),
        pytest.param(floods(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536, 100 * 2**20), "provider_answer", id="100 MB"),
        pytest.param(says(answer(b"", "503 Later", Retry_After="7")), "provider_unavailable", id="503"),
    ],
)
def test_r5_bad_answers(script: Script, reason: str) -> None:
    """R5: whatever authorize answers, or does not, is one clean error after one request."""
    with Peer(script) as peer, pytest.raises(ProviderUnavailable) as caught:
        finish(provider(server_url=peer.url, timeout_seconds=0.2 if reason == "provider_timeout" else 20))
    assert caught.value.reason == reason
    assert len(peer.requests) == 1


@pytest.mark.slow
def test_row_38_one_deadline_for_both_calls() -> None:
    """Row 38: what authorize took is gone for info, so that a login has one deadline and not two."""

    def late(talk: Talk) -> None:
        talk.over.wait(1.5)
        talk.send(json_answer(AUTHORIZED))

    with Peer(late, hangs()) as peer:
        begun = time.monotonic()
        with pytest.raises(ProviderUnavailable) as caught:
            finish(provider(server_url=peer.url, timeout_seconds=2.5))
        assert time.monotonic() - begun < 3.9  # a second deadline would end after 4.0
    assert caught.value.reason == "provider_timeout"
    assert len(peer.requests) == 2


# ------------------------------------------------------------------------------------------ who it is


@each(
    ("given_id", "user_id"),
    [(12345, "12345"), ("12345", "12345"), (0, "0"), ("Ab", "Ab"), ("é ü", "é ü"), ("x" * 512, "x" * 512)],
)
def test_r6_one_spelling(given_id: object, user_id: str, server: responses.RequestsMock) -> None:
    """R6: a number and its text are one user; letters keep their case."""
    server.reset()
    authorize(server)
    info(server, {"success": True, "info": {"id": given_id}})
    logout(server, {"success": True, "clef_id": given_id})
    clef = provider()
    assert finish(clef).user == {"id": user_id}
    assert read(clef).keys == (clef.user_key(user_id),)


IMPOSSIBLE_IDS: list[object] = [
    None,
    True,
    False,
    "",
    [],
    [1],
    {},
    1.0,
    1e3,
    "x" * 513,
    10**512,
    "a\0b",
    "a\nb",
    "\x85",
    "\u2028",
]


@each("given_id", IMPOSSIBLE_IDS)
def test_r6_nobody(given_id: object, server: responses.RequestsMock) -> None:
    """R6: an id that is no number and no usable text is nobody."""
    server.reset()
    authorize(server)
    info(server, {"success": True, "info": {**PERSON, "id": given_id}})
    with pytest.raises(ClaimRejected):
        finish(provider())


def test_r6_id_is_missing(server: responses.RequestsMock) -> None:
    """R6: an e-mail address is no identity."""
    authorize(server)
    info(server, {"success": True, "info": {"email": "ann@example.com"}})
    with pytest.raises(ClaimRejected):
        finish(provider())


@each(
    ("document", "status"),
    [
        ({"error": "Invalid token."}, 403),
        ({"success": False, "info": PERSON}, 200),
        ({"success": 0, "info": PERSON}, 200),
        ({**INFO, "error": None}, 200),
        (INFO, 403),
        ({"success": True}, 200),
        ({"success": True, "info": None}, 200),
        ({"success": True, "info": [PERSON]}, 200),
        ({"success": True, "info": "12345"}, 200),
        ({"success": True, "id": 12345}, 200),
    ],
)
def test_r5_info_that_is_no_success(document: object, status: int, server: responses.RequestsMock) -> None:
    """R5, row 41: nobody is signed in on anything but success and an ``info`` object."""
    server.reset()
    authorize(server)
    info(server, document, status)
    with pytest.raises(ProviderUnavailable) as caught:
        finish(provider())
    assert (caught.value.reason, vars(caught.value)["http_status"]) == ("provider_answer", status)


def test_claims_pass_only_as_text(server: responses.RequestsMock) -> None:
    """Of what a provider says, four texts pass; anything else is dropped, and so is what could break a header."""
    good = {"email": "ann@example.com", "first_name": "Änn", "last_name": "x" * 320, "phone_number": "+1 234"}
    authorize(server)
    info(server, {"success": True, "info": {"id": 1, **good, "admin": True, "keys": ["everyone"]}})
    assert finish(provider()).user == {"id": "1", **good}


@each("value", [None, "", 5, True, [], {}, ["a"], "x" * 321, "a\r\nb", "a\0", "\x9f"])
def test_unusable_claims_are_dropped(value: object, server: responses.RequestsMock) -> None:
    """A login does not fail for a bad phone number."""
    server.reset()
    names = ("email", "first_name", "last_name", "phone_number")
    authorize(server)
    info(server, {"success": True, "info": {"id": 1, **dict.fromkeys(names, value)}})
    assert finish(provider()).user == {"id": "1"}


# -------------------------------------------------------------------------------------------------- secrets


def secrets_sent(server: responses.RequestsMock) -> list[str]:
    return [parse_qs(str(call.request.body))["app_secret"][0] for call in server.calls if call.request.body]


WRONG = {"error": "Invalid App Secret."}


def test_next_secret_when_one_is_named_as_wrong(server: responses.RequestsMock) -> None:
    """While a secret is being changed, the older one is tried where the server names the newer as wrong."""
    for add in (authorize, logout):
        add(server, WRONG, 403)
        add(server)
    info(server)
    clef = provider(app_secret=["new", "old", "older"])
    assert finish(clef).user["id"] == "12345"
    assert read(clef).keys == (clef.user_key("12345"),)
    assert secrets_sent(server) == ["new", "old", "new", "old"]


def test_each_secret_once(server: responses.RequestsMock) -> None:
    """Each wrong secret is tried once, and the error names the options to check."""
    authorize(server, WRONG, 403)
    with pytest.raises(ProviderUnavailable, match="app_id and app_secret") as caught:
        finish(provider(app_secret=("new", "old", "new")))
    assert (caught.value.reason, vars(caught.value)["http_status"]) == ("provider_refused_app", 403)
    assert secrets_sent(server) == ["new", "old"]


@each(
    ("document", "status"),
    [
        ({"error": "Invalid App ID."}, 403),
        ({"error": "Invalid App."}, 403),
        ({"error": "Invalid OAuth Code."}, 403),
        ({"error": "Oops"}, 403),
        (AUTHORIZED, 500),
        (WRONG, 503),
        (WRONG, 302),
    ],
)
def test_no_other_answer_gets_another_secret(document: object, status: int, server: responses.RequestsMock) -> None:
    """Only ``Invalid App Secret.`` is a reason to say another secret."""
    server.reset()
    authorize(server, document, status)
    with pytest.raises(ClefError):
        finish(provider(app_secret=["new", "old"]))
    assert secrets_sent(server) == ["new"]


# --------------------------------------------------------------------------------------------------- logout


def test_r7_good_token(server: responses.RequestsMock) -> None:
    """R7: the token and the secret go into one POST; the person's key and a digest of the token come out."""
    form = {"logout_token": LOGOUT_TOKEN, "app_id": APP_ID, "app_secret": APP_SECRET}
    server.post(f"{SERVER}/api/v1/logout", json=LOGGED_OUT, match=[urlencoded_params_matcher(form)])
    clef = provider()
    first, second = read(clef), read(clef)
    assert first.keys == (clef.user_key("12345"),)
    assert first.idempotency_key == second.idempotency_key
    assert len(first.idempotency_key or "") == 64
    assert LOGOUT_TOKEN not in repr(first)


def test_row_25_digest_is_the_tokens(server: responses.RequestsMock) -> None:
    """Row 25: each token of each application has its own digest."""
    logout(server)
    clef, other = provider(), provider(app_id="f" * 32)
    assert len({read(clef).idempotency_key, read(clef, "another").idempotency_key, read(other).idempotency_key}) == 3


@each("token", ["", "t" * 2049, "a\0", "a\r\nb", "é", "\u2028"])
def test_row_24_impossible_tokens(token: str, server: responses.RequestsMock) -> None:
    """Row 24: what no server could have given is refused without asking one."""
    server.reset()
    with pytest.raises(LogoutRefused):
        read(provider(), token)
    assert len(server.calls) == 0


BODY = "body-1_A"
SIGNATURE = "wcWe7X7EzePay_mplDwNCFxoowmF1cc9GOESVdiKK10"
"""HMAC-SHA256 of BODY by the SHA-256 of APP_SECRET, as base64url without padding; made with openssl."""
STRANGERS = base64.urlsafe_b64encode(hmac.digest(b"a key of somebody's", BODY.encode(), "sha256")).decode().rstrip("=")


def assert_asked(server: responses.RequestsMock, token: str, **options: Any) -> None:
    """The server is asked about this token, once."""
    server.reset()
    logout(server)
    assert read(provider(signed_tokens=True, **options), token).keys
    assert paths(server) == ["/api/v1/logout"]


def assert_not_asked(server: responses.RequestsMock, token: str, **options: Any) -> None:
    """Assert that the token is refused as not signed, without a request to the server."""
    server.reset()
    with pytest.raises(LogoutRefused, match="not signed") as caught:
        read(provider(signed_tokens=True, **options), token)
    assert (caught.value.reason, caught.value.status) == ("token_not_signed", 400)
    assert len(server.calls) == 0


@each("more", ["", f".{STRANGERS}", ".", "..x", f".{SIGNATURE}"])
@each("secret", [APP_SECRET, ["new", APP_SECRET], [APP_SECRET, "old"], ("new", "newer", APP_SECRET)])
def test_a_signed_token_is_asked_about(secret: Any, more: str, server: responses.RequestsMock) -> None:
    """One signature by one of the secrets is enough, wherever it stands: both sides may be changing theirs."""
    assert_asked(server, f"{BODY}.{SIGNATURE}{more}", app_secret=secret)
    assert_asked(server, f"{BODY}.{STRANGERS}.{SIGNATURE}{more}", app_secret=secret)


@each(
    "token",
    [
        BODY,
        f"{BODY}.",
        f"{BODY}.{STRANGERS}",
        f"{BODY}.{STRANGERS}.{STRANGERS}",
        f"{BODY}{SIGNATURE}",
        f"{BODY}..{SIGNATURE[:-1]}",
        f"{BODY}.{SIGNATURE}=",
        f"{BODY}.{SIGNATURE} ",
        f" {BODY}.{SIGNATURE}",
        f"{BODY}.x{SIGNATURE[1:]}",
        f"{BODY}.{SIGNATURE.lower()}",
        f"x.{SIGNATURE}",
        f".{SIGNATURE}",
        SIGNATURE,
        f"{SIGNATURE}.{BODY}",
        f"x.{BODY}.{SIGNATURE}",
        ".",
        "." * 2048,
        "1234567890",
    ],
)
def test_a_token_without_a_signature_of_ours_is_not_asked_about(token: str, server: responses.RequestsMock) -> None:
    """A stranger's junk costs no call, and has a reason of its own."""
    assert_not_asked(server, token)
    assert_not_asked(server, token, app_secret=["new", APP_SECRET, "old"])


def test_a_token_signed_with_a_secret_that_was_dropped_is_refused(server: responses.RequestsMock) -> None:
    """Only the secrets that the site has count; an empty body is signed by nobody."""
    assert_not_asked(server, f"{BODY}.{SIGNATURE}", app_secret="another")
    key = hashlib.sha256(APP_SECRET.encode()).digest()
    empty = base64.urlsafe_b64encode(hmac.digest(key, b"", "sha256")).decode().rstrip("=")
    assert_not_asked(server, f".{empty}")


def test_without_the_option_a_token_is_opaque(server: responses.RequestsMock) -> None:
    """A server of somebody's own signs nothing; the digest is the whole token's, signatures included."""
    logout(server)
    clef = provider()
    assert (
        len({read(clef, token).idempotency_key for token in (BODY, f"{BODY}.{SIGNATURE}", f"{BODY}.{STRANGERS}")}) == 3
    )
    signed = provider(signed_tokens=True)
    assert read(signed, f"{BODY}.{SIGNATURE}").idempotency_key == read(clef, f"{BODY}.{SIGNATURE}").idempotency_key


@each("value", [None, 1, "true", ()])
def test_signed_tokens_is_a_truth_value(value: Any) -> None:
    """A text is no truth value."""
    with pytest.raises(ConfigurationError, match="signed_tokens must be True or False"):
        provider(signed_tokens=value)


def test_row_23_no_token(server: responses.RequestsMock) -> None:
    """Row 23: nothing to ask about."""
    with pytest.raises(LogoutRefused):
        provider().read_logout({})
    assert len(server.calls) == 0


@each("status", [200, 400, 403])
@each(
    ("text", "kind", "reason"),
    [
        ("Invalid Logout Token.", LogoutRefused, "logout_refused"),
        ("Invalid App ID.", ProviderUnavailable, "provider_refused_app"),
        ("Invalid App Secret.", ProviderUnavailable, "provider_refused_app"),
        ("Invalid App.", ProviderUnavailable, "provider_refused_app"),
        ("Invalid OAuth Code.", ProviderUnavailable, "provider_answer"),
        ("Oops", ProviderUnavailable, "provider_answer"),
    ],
)
def test_row_24_errors_of_logout(
    text: str, kind: type[ClefError], reason: str, status: int, server: responses.RequestsMock
) -> None:
    """Row 24: a token that the server does not know is refused; any other error is no proof of anything."""
    server.reset()
    logout(server, {**LOGGED_OUT, "error": text}, status)
    with pytest.raises(kind) as caught:
        read(provider())
    assert caught.value.reason == reason


@each("given_id", IMPOSSIBLE_IDS)
def test_row_28_impossible_ids(given_id: object, server: responses.RequestsMock) -> None:
    """Row 28: a logout of nobody is the provider's fault: it may send it again."""
    server.reset()
    logout(server, {"success": True, "clef_id": given_id})
    with pytest.raises(ProviderUnavailable) as caught:
        read(provider())
    assert (caught.value.reason, caught.value.status) == ("provider_answer", 503)


@pytest.mark.parametrize("body", ['{"success": true, "clef_id": NaN}', '{"success": true, "clef_id": 1e999}'])
def test_row_28_numbers_that_are_none(body: str, server: responses.RequestsMock) -> None:
    """Row 28: neither is JSON."""
    server.post(f"{SERVER}/api/v1/logout", body=body)
    with pytest.raises(ProviderUnavailable):
        read(provider())


@each("document", [{}, {"success": 0, "clef_id": 1}, {"success": False, "clef_id": 1}, {"success": True}])
def test_logout_that_is_no_success(document: object, server: responses.RequestsMock) -> None:
    """Without success and an id nobody is signed out."""
    server.reset()
    logout(server, document)
    with pytest.raises(ProviderUnavailable):
        read(provider())


# --------------------------------------------------------------------------------------------------- keys


def test_user_key() -> None:
    """Provider, application and id, as compact JSON."""
    assert provider().user_key('1"2') == f'["clef","{APP_ID}","1\\"2"]'


APPS = {app_id: provider(app_id=app_id) for app_id in ("a", 'a"', 'a","b', "a\\")}
KEYED = st.tuples(st.sampled_from(sorted(APPS)), st.text('ab",\\[]\n\u00e9\U0001f600', max_size=4))


@settings(max_examples=100)
@given(one=KEYED, other=KEYED)
def test_user_key_is_injective(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Sites may share a store: no two people of no two applications have one key."""
    keys = {APPS[app_id].user_key(user_id) for app_id, user_id in (one, other)}
    assert len(keys) == len({one, other})


# ------------------------------------------------------------------------------------------ whatever comes

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["Invalid OAuth Code.", "Invalid App Secret.", "Invalid Logout Token.", TOKEN]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["success", "error", "access_token", "info", "clef_id", "id", "email"])
DOCUMENTS = st.dictionaries(NAMES, VALUES | st.just(True) | st.dictionaries(NAMES, VALUES, max_size=3), max_size=4)
BODIES = st.binary(max_size=64) | DOCUMENTS.map(lambda document: json.dumps(document).encode())
ANSWERS = st.tuples(BODIES, st.integers(100, 599))


@settings(max_examples=60)
@given(first=ANSWERS | st.just((json.dumps(AUTHORIZED).encode(), 200)), second=ANSWERS)
def test_rows_28_and_41_nothing_but_our_own_errors(first: tuple[bytes, int], second: tuple[bytes, int]) -> None:
    """Rows 28 and 41: any body at any status ends in a value of the right shape, or in an error of ours."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as server:
        server.post(f"{SERVER}/api/v1/authorize", body=first[0], status=first[1])
        server.get(f"{SERVER}/api/v1/info", body=second[0], status=second[1])
        server.post(f"{SERVER}/api/v1/logout", body=second[0], status=second[1])
        clef = provider()
        assert _value_or_refusal(lambda: finish(clef).user)
        assert _value_or_refusal(lambda: read(clef).keys)


def _value_or_refusal(call: Callable[[], object]) -> object:
    try:
        return call()
    except (LoginRefused, LogoutRefused, ProviderUnavailable) as refusal:
        return refusal.reason


@pytest.mark.parametrize("text", ["Invalid OAuth Code.", "Invalid App Secret.", "Oops", "hangs", "closes"])
def test_no_secret_is_told(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """No error, no log line and no ``repr`` holds what was sent, or what was answered."""
    caplog.set_level(logging.DEBUG)
    scripts = {"hangs": hangs(), "closes": says(b"")}
    failing = scripts.get(text, says(json_answer({"error": text, "echo": [CODE, TOKEN, APP_SECRET]}, "403 No")))
    told = []
    for peer in (Peer(failing), Peer(says(json_answer(AUTHORIZED)), failing)):
        with peer, pytest.raises(ClefError) as caught:
            finish(provider(server_url=peer.url, timeout_seconds=0.15))
        told += [*traceback.format_exception(caught.value), repr(vars(caught.value))]
        assert caught.value.__context__ is None
    everything = "".join([*told, caplog.text])
    assert [secret for secret in (CODE, TOKEN, APP_SECRET) if secret in everything] == []
