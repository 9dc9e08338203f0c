"""Logins by OpenID Connect: what is sent, what is believed, and every ID token that must not be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from support.app import NOON, Browser, FakeClock, browser, make_app
from support.cases import each
from support.fake_oidc import CLIENT_ID, GONE, FakeOIDC, Key, changed, encode, make_key, signed, slowly

from clef_wsgi import login_hints
from clef_wsgi.base.errors import ClaimRejected, ClefError, CodeRejected, LoginRefused, ProviderUnavailable
from clef_wsgi.interfaces import Identity, LoginStart
from clef_wsgi.providers.oidc import OIDCProvider
from clef_wsgi.testing.provider_contract import IdentityProviderContract

CALLBACK = "https://www.example.com/clef/callback"
JSON = {"Accept": "application/json"}

NOT_APPLICABLE = {
    "invalid-sig-hs256": "HS256 is never believed, whatever its signature; CVE-2024-37568 sends one",
    "idtoken-sig-none": "alg none is never believed, whoever sends it: see CVE-2026-28802, which is refused",
    "nonce-unless-code-flow": "the nonce is always sent and always demanded",
    "invalid-chash": "c_hash belongs to the hybrid flow, which is never asked for",
    "missing-chash": "c_hash belongs to the hybrid flow, which is never asked for",
    "missing-athash": "at_hash is optional in the code flow; test_at_hash_may_be_missing",
    "userinfo-bearer-body": "the token goes into the header alone",
    "refresh-token": "no refresh token is kept: offline_access is refused at construction",
    "refresh-token-invalid-issuer": "no refresh token is kept",
    "refresh-token-invalid-sub": "no refresh token is kept",
    "3rd-party-init-login": "login_path belongs to the middleware",
    "form-post-error": "response_mode is always query",
    "dynamic-registration": "a site is registered by hand",
    "mtls-endpoint-aliases": "mutual TLS is not offered",
    "frontchannel": "front-channel logout is not offered: browsers keep its cookies away",
    "session-management": "the iframe of session management is not offered: browsers keep its cookies away",
}
"""Modules of the conformance suite for relying parties that do not apply, with the reason."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def op(clock: FakeClock) -> Iterator[FakeOIDC]:
    with FakeOIDC(clock=clock) as fake:
        yield fake


class TestOIDCProvider(IdentityProviderContract):
    """The contract of every provider."""

    @pytest.fixture(autouse=True)
    def serve(self, op: FakeOIDC) -> None:
        self.op = op
        self.person = f"{op.issuer}#ann"

    def make_provider(self) -> OIDCProvider:
        return self.op.provider()

    def approve(self, start: LoginStart, person: str) -> Mapping[str, str]:
        return self.op.approve(start.url, person.partition("#")[2])

    def notification(self, person: str) -> Mapping[str, str]:
        return {"logout_token": self.op.logout_token(sub=person.partition("#")[2])}


def site(op: FakeOIDC, **options: Any) -> Browser:
    """A browser at a wrapped app whose provider is ``op``."""
    return browser(make_app(provider=op.provider(**options)))


def come_back(ann: Browser, op: FakeOIDC, person: str = "ann", **query: Any) -> Any:
    """A whole login; returns the callback's answer, as JSON where it is refused."""
    location = ann.get("/clef/login", status=303).location
    answered = op.approve(location, person, **query)
    return ann.get("/clef/callback?" + urlencode(answered), headers=JSON, expect_errors=True)


def log_in(op: FakeOIDC, provider: OIDCProvider | None = None, person: str = "ann", **hints: Any) -> Identity:
    """A login without a site."""
    provider = provider or op.provider()
    start = provider.start_login("state", CALLBACK, hints=hints)
    return provider.finish_login(op.approve(start.url, person), start.provider_state, CALLBACK)


def refuses(op: FakeOIDC, reason: str, *, token_requests: int = 1, **query: Any) -> None:
    """A login ends with this reason, nobody is signed in, and the code went out as often as said."""
    ann = site(op)
    answer = come_back(ann, op, **query)
    assert (answer.status_int, answer.json["error"]) == (400, reason)
    assert ann.user is None
    assert op.token_requests == token_requests


# -- the way there ------------------------------------------------------------------------------------------


def test_the_request_is_code_flow_with_pkce_and_nonce(op: FakeOIDC) -> None:
    """S256, nonce and state are new for each login, and the verifier stays here (RFC 7636; Core 3.1.2.1)."""
    first, second = (op.provider().start_login("state", CALLBACK) for _ in range(2))
    asked = dict(parse_qsl(urlsplit(first.url).query))
    verifier = first.provider_state["verifier"]
    assert 43 <= len(verifier) <= 128
    assert asked == {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid profile email",
        "state": "state",
        "nonce": first.provider_state["nonce"],
        "code_challenge": encode(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    assert not set(first.provider_state.values()) & set(second.provider_state.values())


def test_an_address_with_a_query_keeps_it(op: FakeOIDC) -> None:
    """An authorization endpoint may have a query (RFC 6749, section 3.1)."""
    op.metadata = {"authorization_endpoint": f"{op.issuer}/authorize?p=policy"}
    assert "/authorize?p=policy&client_id=" in op.provider().start_login("s", CALLBACK).url


def test_login_params_and_hints_stand_in_the_address(op: FakeOIDC) -> None:
    """``login_params`` are sent; a hint of one login wins; other hints are not."""
    provider = op.provider(login_params=["kc_idp_hint=github", "prompt=consent", "audience = https://api.example"])
    hints = {"login_hint": "ann@example.org", "prompt": "select_account", "client_id": "other"}
    asked = dict(parse_qsl(urlsplit(provider.start_login("s", CALLBACK, hints=hints).url).query))
    assert (asked["kc_idp_hint"], asked["audience"]) == ("github", "https://api.example")
    assert (asked["prompt"], asked["login_hint"], asked["client_id"]) == (
        "select_account",
        "ann@example.org",
        CLIENT_ID,
    )


@each(
    ("params", "query", "sent"),
    [
        (["max_age=300"], "max_age=999999999", {"max_age": "300"}),
        (["max_age=300"], "max_age=60", {"max_age": "60"}),
        (["max_age=300"], "", {"max_age": "300"}),
        (["prompt=login"], "prompt=select_account", {"prompt": "login"}),
        (["prompt=consent login"], "prompt=select_account", {"prompt": "consent login"}),
        (["prompt=select_account"], "prompt=login", {"prompt": "login"}),
        ([], "prompt=select_account&max_age=7", {"prompt": "select_account", "max_age": "7"}),
    ],
)
def test_a_visitor_asks_for_no_less_than_the_site(
    params: list[str], query: str, sent: dict[str, str], op: FakeOIDC, clock: FakeClock
) -> None:
    """The query of ``login_path`` is the visitor's: it makes no authentication older than ``login_params`` say."""
    provider = op.provider(login_params=params)
    visitor = browser(make_app(provider=provider))
    asked = dict(parse_qsl(urlsplit(visitor.get(f"/clef/login?{query}", status=303).location).query))
    assert {name: asked[name] for name in ("prompt", "max_age") if name in asked} == sent
    if "max_age" in sent:
        start = provider.start_login("state", CALLBACK, hints=login_hints.read(parse_qs(query)))
        assert start.provider_state["not_before"] == clock() - int(sent["max_age"])


@each(
    "hints",
    [
        {"prompt": "none"},
        {"prompt": "consent"},
        {"login_hint": "x" * 256},
        {"login_hint": ""},
        {"max_age": -1},
        {"max_age": "60"},
        {"max_age": True},
        {"max_age": 1.5},
        {"state": "x"},
    ],
)
def test_hints_that_are_none(hints: dict[str, Any], op: FakeOIDC) -> None:
    """A hint that this package does not know is left out."""
    asked = dict(parse_qsl(urlsplit(op.provider().start_login("s", CALLBACK, hints=hints).url).query))
    assert asked["state"] == "s"
    assert not {"prompt", "login_hint", "max_age"} & asked.keys()


def test_times_beyond_a_float(op: FakeOIDC) -> None:
    """Whole numbers of 4,000 digits are compared, and raise nothing."""
    huge = 10**4000
    for claims, reason in (({"exp": huge}, None), ({"iat": huge}, "token_issued_at"), ({"iat": -huge}, None)):
        op.claims = claims
        assert outcome(op) == reason
    op.claims = {"iat": -huge, "exp": -huge + 1}
    assert outcome(op) == "token_expired"
    with pytest.raises(ClefError) as caught:
        op.provider().read_logout({"logout_token": op.logout_token(sub="ann", iat=-huge, exp=GONE)})
    assert caught.value.reason == "token_expired"


def test_a_whole_login(op: FakeOIDC) -> None:
    """The person is issuer and sub; two requests with warm caches are the token's and userinfo's at most."""
    ann = site(op)
    assert come_back(ann, op).status_int == 303
    user = ann.user
    assert user.pop("logged_in_at") == user.pop("authenticated_at")
    assert user == {
        "id": f"{op.issuer}#ann",
        "first_name": "Ann",
        "last_name": "Example",
        "name": "Ann",
        "preferred_username": "ann",
        "email": "ann@example.org",
    }
    assert [seen.path for seen in op.requests] == ["/.well-known/openid-configuration", "/token", "/jwks"]
    op.claims = {"name": GONE}
    assert come_back(ann, op).status_int == 303
    assert [seen.path for seen in op.requests][3:] == ["/token", "/userinfo"]
    assert ann.user["name"] == "ann of userinfo"


def test_what_stays_with_the_login(op: FakeOIDC) -> None:
    """A token of at most 3,000 characters is kept for ``id_token_hint``; of a longer one, sid and sub."""
    provider = op.provider()
    kept = log_in(op, provider).provider_state
    address = provider.end_login(kept, "https://www.example.com/clef/logout", "o.x")
    assert address is not None
    assert dict(parse_qsl(urlsplit(address).query)) == {
        "id_token_hint": kept["id_token"],
        "client_id": CLIENT_ID,
        "post_logout_redirect_uri": "https://www.example.com/clef/logout",
        "state": "o.x",
    }
    op.claims = {"long": "x" * 3000}
    kept = log_in(op, provider).provider_state
    assert kept == {"sub": "ann", "sid": "sid-of-ann"}
    address = provider.end_login(kept, "https://www.example.com/clef/logout", "o.x")
    assert address is not None
    assert parse_qs(urlsplit(address).query)["logout_hint"] == ["sid-of-ann"]


@pytest.mark.slow
def test_rp_init_logout(op: FakeOIDC, clock: FakeClock) -> None:
    """There is an address where the metadata has one, also for a login whose token was lost; within a second."""
    provider = op.provider()
    assert provider.end_login({}, "https://x.example/", "s") is not None
    assert op.provider(logout_at_provider=False).end_login({}, "https://x.example/", "s") is None
    op.metadata = {"end_session_endpoint": GONE}
    assert op.provider().end_login({}, "https://x.example/", "s") is None
    op.says["/.well-known/openid-configuration"] = slowly(2, (200, {}, b"{}"))
    began = time.monotonic()
    with pytest.raises(ProviderUnavailable) as caught:
        op.provider().end_login({}, "https://x.example/", "s")
    assert caught.value.reason == "provider_timeout"
    assert time.monotonic() - began < 1.9


def test_pushed_requests(op: FakeOIDC) -> None:
    """RFC 9126: used where the provider demands it, or always; the browser sees ``request_uri`` alone."""
    assert "request_uri" not in op.provider().start_login("s", CALLBACK).url
    assert "request_uri" in op.provider(pushed="always").start_login("s", CALLBACK).url
    op.metadata = {"require_pushed_authorization_requests": True}
    assert "request_uri" not in op.provider(pushed="never").start_login("s", CALLBACK).url
    provider = op.provider()
    start = provider.start_login("state", CALLBACK)
    assert set(parse_qs(urlsplit(start.url).query)) == {"client_id", "request_uri"}
    assert provider.finish_login(op.approve(start.url), start.provider_state, CALLBACK).user["id"].endswith("#ann")


@each(
    "answer",
    [(201, {}, b"{}"), (400, {}, b'{"error": "invalid_request"}'), (201, {}, b'{"request_uri": 5}'), (200, {}, b"<p>")],
)
def test_a_pushed_request_that_is_not_taken(answer: Any, op: FakeOIDC) -> None:
    """An answer without a ``request_uri`` is trouble of the provider."""
    op.says["/par"] = answer
    with pytest.raises(ProviderUnavailable) as caught:
        op.provider(pushed="always").start_login("s", CALLBACK)
    assert caught.value.reason == "provider_answer"


def test_a_pushed_request_without_an_endpoint(op: FakeOIDC) -> None:
    """Where requests must be pushed and the metadata says not where to, none goes through the browser instead."""
    op.metadata = {"pushed_authorization_request_endpoint": GONE}
    with pytest.raises(ProviderUnavailable, match="names no pushed_authorization_request_endpoint") as caught:
        op.provider(pushed="always").start_login("s", CALLBACK)
    assert caught.value.reason == "provider_metadata"


def test_step_up(op: FakeOIDC, clock: FakeClock) -> None:
    """``max_age``: auth_time is compared with the moment the login began, whatever the browser says later."""
    provider = op.provider(leeway=0)
    for auth_time, is_recent in ((NOON, True), (NOON - 10, True), (NOON - 11, False), (GONE, False), (True, False)):
        op.claims = {"auth_time": auth_time}
        clock.now = NOON
        start = provider.start_login("state", CALLBACK, hints={"max_age": 10})
        assert "max_age=10" in start.url
        clock.advance(100)  # typing a password takes its time
        query = op.approve(start.url)
        if is_recent:
            user = provider.finish_login(query, start.provider_state, CALLBACK).user
            assert user["authenticated_at"] == auth_time
        else:
            with pytest.raises(ClaimRejected) as caught:
                provider.finish_login(query, start.provider_state, CALLBACK)
            assert caught.value.reason == "token_auth_time"


# -- the way back -------------------------------------------------------------------------------------------


@each(
    ("error", "status", "reason"),
    [
        ("access_denied", 400, "access_denied"),
        ("login_required", 400, "login_required"),
        ("interaction_required", 400, "interaction_required"),
        ("consent_required", 400, "consent_required"),
        ("temporarily_unavailable", 503, "provider_error"),
        ("server_error", 503, "provider_error"),
        ("<b>anything</b>", 400, "provider_error"),
    ],
)
def test_an_error_response(error: str, status: int, reason: str, op: FakeOIDC) -> None:
    """Each error has its reason, and nothing foreign stands in its text (RFC 6749, 4.1.2.1; Core 3.1.2.6)."""
    provider = op.provider()
    start = provider.start_login("state", CALLBACK)
    with pytest.raises(ClefError) as caught:
        provider.finish_login({"error": error, "state": "state"}, start.provider_state, CALLBACK)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert error not in str(caught.value)
    assert op.token_requests == 0


def test_an_error_response_at_a_site(op: FakeOIDC) -> None:
    """An error response counts only with the right issuer; with another one it is refused as such."""
    ann = site(op)
    for issuer, reason in ((op.issuer, "interaction_required"), ("https://evil.example", "wrong_issuer")):
        state = parse_qs(urlsplit(ann.get("/clef/login", status=303).location).query)["state"][0]
        query = urlencode({"error": "interaction_required", "state": state, "iss": issuer})
        assert ann.get("/clef/callback?" + query, headers=JSON, status=400).json["error"] == reason


@each("auth_time", [NOON + 61, -1, True, "1800000000", None, 10**400, [NOON]])
def test_an_auth_time_that_is_none(auth_time: Any, op: FakeOIDC) -> None:
    """An ``auth_time`` that is no time in the past is ignored."""
    op.claims = {"auth_time": auth_time}
    assert "authenticated_at" not in log_in(op).user


def test_the_issuer_of_the_response(op: FakeOIDC) -> None:
    """RFC 9207: a wrong ``iss`` is refused, a missing one where it is advertised; no code is sent."""
    refuses(op, "wrong_issuer", token_requests=0, iss="https://evil.example")
    refuses(op, "wrong_issuer", token_requests=0, iss=op.issuer + "/")
    assert come_back(site(op), op, iss=op.issuer).status_int == 303
    op.metadata = {"authorization_response_iss_parameter_supported": True}
    refuses(op, "wrong_issuer", token_requests=1)


def test_an_error_response_of_another_issuer_is_not_believed(op: FakeOIDC) -> None:
    """``iss`` is compared in error responses too."""
    provider = op.provider()
    start = provider.start_login("state", CALLBACK)
    with pytest.raises(LoginRefused) as caught:
        provider.finish_login({"error": "access_denied", "iss": "https://evil.example"}, start.provider_state, CALLBACK)
    assert caught.value.reason == "wrong_issuer"


@each("state", [{}, {"nonce": "n"}, {"verifier": "v"}, {"nonce": 1, "verifier": "v"}])
def test_a_state_that_was_lost(state: dict[str, Any], op: FakeOIDC) -> None:
    """Without nonce and verifier no code is sent."""
    with pytest.raises(LoginRefused) as caught:
        op.provider().finish_login({"code": "c", "state": "s"}, state, CALLBACK)
    assert caught.value.reason == "state_mismatch"
    assert op.token_requests == 0


def test_a_code_is_redeemed_once(op: FakeOIDC) -> None:
    """The provider's refusal of a code is ``code_rejected``, also as glewlwyd says it."""
    provider = op.provider()
    start = provider.start_login("state", CALLBACK)
    query = op.approve(start.url)
    provider.finish_login(query, start.provider_state, CALLBACK)
    with pytest.raises(CodeRejected):
        provider.finish_login(query, start.provider_state, CALLBACK)
    op.says["/token"] = (403, {}, b'{"error": "invalid_code"}')
    with pytest.raises(CodeRejected):
        provider.finish_login(query, start.provider_state, CALLBACK)


@each(
    "answer",
    [
        (200, {}, b"<html>"),
        (200, {}, b""),
        (200, {}, b"null"),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"id_token": "a", "id_token": "b"}'),
        (200, {}, '{"id_token": "é"}'.encode("utf-16")),
        (302, {"Location": "/elsewhere"}, b""),
        (307, {"Location": "/elsewhere"}, b""),
        (400, {}, b'{"error": "invalid_request"}'),
        (200, {}, b'{"error": "server_error"}'),
    ],
)
def test_a_token_response_without_sense(answer: Any, op: FakeOIDC) -> None:
    """Rows 40 and 41: an error, nobody signed in, and exactly one request."""
    op.says["/token"] = answer
    ann = site(op)
    answered = come_back(ann, op)
    assert (answered.status_int, answered.json["error"]) == (503, "provider_answer")
    assert ann.user is None
    assert op.count("/elsewhere") == 0


# -- ID tokens: modules of the conformance suite, under their names -----------------------------------------


def test_oidcc_client_test_invalid_iss(op: FakeOIDC) -> None:
    """oidcc-client-test-invalid-iss."""
    for issuer in ("https://evil.example", op.issuer + "/", op.issuer.upper(), None, GONE, [op.issuer]):
        op.claims, op.requests = {"iss": issuer}, []
        refuses(op, "token_issuer")


def test_oidcc_client_test_missing_sub(op: FakeOIDC) -> None:
    """oidcc-client-test-missing-sub, and each sub that nobody could have."""
    values: tuple[Any, ...] = (GONE, None, "", "x" * 256, "é", "a\nb", 5, True, ["ann"], {})
    for subject in values:
        op.claims, op.requests = {"sub": subject}, []
        refuses(op, "token_subject")


def test_oidcc_client_test_invalid_aud(op: FakeOIDC) -> None:
    """oidcc-client-test-invalid-aud; several audiences need an azp, and an azp must be ours."""
    others: list[dict[str, Any]] = [
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": CLIENT_ID + "x"},
        {"aud": {CLIENT_ID: 1}},
        {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"azp": "another"},
        {"azp": None},
    ]
    for claims in others:
        op.claims, op.requests = claims, []
        refuses(op, "token_audience")
    for claims in ({"aud": [CLIENT_ID]}, {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}):
        op.claims = claims
        assert come_back(site(op), op).status_int == 303


def test_oidcc_client_test_missing_aud(op: FakeOIDC) -> None:
    """oidcc-client-test-missing-aud."""
    values: tuple[Any, ...] = (GONE, None, [])
    for audience in values:
        op.claims, op.requests = {"aud": audience}, []
        refuses(op, "token_audience")


def test_oidcc_client_test_missing_iat(op: FakeOIDC) -> None:
    """oidcc-client-test-missing-iat, and times that are no numbers."""
    values: tuple[Any, ...] = (GONE, None, "1800000000", True, [], NOON + 61)
    for issued_at in values:
        op.claims, op.requests = {"iat": issued_at}, []
        refuses(op, "token_issued_at")


@each("end", [GONE, None, True, "9999999999", NOON - 400, NOON - 60, [NOON + 5]])
def test_an_id_token_without_an_end(end: Any, op: FakeOIDC) -> None:
    """``exp`` is a number, and not in the past."""
    op.claims, op.requests = {"exp": end, "iat": NOON - 500}, []
    refuses(op, "token_expired")


def test_an_end_before_the_issue(op: FakeOIDC) -> None:
    """``exp`` is after ``iat``, also within the leeway."""
    op.claims = {"iat": NOON + 30, "exp": NOON + 30}
    refuses(op, "token_expired")


@each(("at", "reason"), [(-1, None), (0, "token_expired"), (1, "token_expired")])
def test_the_clock_at_the_end(at: int, reason: str | None, op: FakeOIDC, clock: FakeClock) -> None:
    """A token is good while the clock is before ``exp`` and the leeway: -1, 0, +1 second."""
    op.claims = {"iat": NOON - 100, "exp": NOON - 60 - at}
    assert outcome(op) == reason


@each(("at", "reason"), [(-1, None), (0, None), (1, "token_issued_at")])
def test_the_clock_at_the_issue(at: int, reason: str | None, op: FakeOIDC) -> None:
    """``iat`` may be ahead by the leeway: -1, 0, +1 second."""
    op.claims = {"iat": NOON + 60 + at}
    assert outcome(op) == reason


def outcome(op: FakeOIDC, provider: OIDCProvider | None = None) -> str | None:
    try:
        log_in(op, provider)
    except ClefError as error:
        return error.reason
    return None


def test_oidcc_client_test_nonce_invalid(op: FakeOIDC) -> None:
    """oidcc-client-test-nonce-invalid."""
    for nonce in ("another", "", GONE, None, 5, "é", ["n"]):
        op.claims, op.requests = {"nonce": nonce}, []
        refuses(op, "token_nonce")


def with_other_signature(token: str) -> str:
    head, _, signature = token.rpartition(".")
    return f"{head}.{encode(bytes(byte ^ 1 for byte in base64.urlsafe_b64decode(signature + '==')))}"


def test_oidcc_client_test_invalid_sig_rs256(op: FakeOIDC) -> None:
    """oidcc-client-test-invalid-sig-rs256."""
    op.keys, op.id_token = [Key("r1", "RS256")], with_other_signature
    refuses(op, "token_signature")


def test_oidcc_client_test_invalid_sig_es256(op: FakeOIDC) -> None:
    """oidcc-client-test-invalid-sig-es256; a signature of another key, cut, empty, or all zero is no better."""
    forms: list[Callable[[str], str]] = [
        with_other_signature,
        lambda token: token[:-4],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0] + "." + "A" * 86,
        lambda token: token.rpartition(".")[0] + ".!!!",
    ]
    for op.id_token in forms:
        op.requests = []
        refuses(op, "token_signature")


def test_oidcc_client_test_idtoken_sig_rs256(op: FakeOIDC) -> None:
    """oidcc-client-test-idtoken-sig-rs256, and each other algorithm that is believed unasked."""
    for algorithm in ("RS256", "ES256", "PS256", "Ed25519", "EdDSA"):
        op.keys = [Key("k", algorithm)]
        assert outcome(op) is None, algorithm


def test_oidcc_client_test_invalid_athash(op: FakeOIDC) -> None:
    """oidcc-client-test-invalid-athash; also where there is no access token that it could be of."""
    for at_hash in ("another", "", None, 5):
        op.claims, op.requests = {"at_hash": at_hash}, []
        refuses(op, "token_at_hash")
    op.claims, op.requests, op.token_response = {}, [], {"access_token": GONE}
    refuses(op, "token_at_hash")


def test_at_hash_may_be_missing(op: FakeOIDC) -> None:
    """In the code flow at_hash is optional (Core 3.1.3.6)."""
    op.claims = {"at_hash": GONE}
    assert outcome(op) is None


@each(("algorithm", "hash_name"), [("Ed25519", "sha512"), ("EdDSA", "sha512"), ("PS256", "sha256")])
def test_at_hash_by_the_algorithm(algorithm: str, hash_name: str, op: FakeOIDC) -> None:
    """The hash is that of the signature: SHA-512 for Ed25519 under both of its names."""
    digest = hashlib.new(hash_name, b"at-ann").digest()
    op.keys, op.claims = [Key("k", algorithm)], {"at_hash": encode(digest[: len(digest) // 2])}
    assert outcome(op) is None
    op.claims = {"at_hash": encode(digest)}
    assert outcome(op) == "token_at_hash"


def test_oidcc_client_test_kid_absent_single_jwks(op: FakeOIDC) -> None:
    """oidcc-client-test-kid-absent-single-jwks: accepted, wherever the kid is missing."""
    op.keys = [Key(None)]
    assert outcome(op) is None
    op.header = {"kid": "k1"}  # the token has one, the set has none
    assert outcome(op) is None
    op.keys, op.header = [Key("k1")], {"kid": GONE}  # the set has one, the token has none
    assert outcome(op) is None


def test_oidcc_client_test_kid_absent_multiple_jwks(op: FakeOIDC) -> None:
    """oidcc-client-test-kid-absent-multiple-jwks: each key of the right type is tried."""
    op.header, op.keys = {"kid": GONE}, [Key("k1"), Key("k2", serial=2), Key("k3", "RS256")]
    op.published = [key.jwk for key in reversed(op.keys)]
    assert outcome(op) is None


def test_two_keys_of_one_kid(op: FakeOIDC) -> None:
    """Both are tried: joserfc alone would look at the first."""
    op.keys = [Key("same"), Key("same", serial=2)]
    op.published = [key.jwk for key in reversed(op.keys)]
    assert outcome(op) is None


def test_oidcc_client_test_userinfo_invalid_sub(op: FakeOIDC) -> None:
    """oidcc-client-test-userinfo-invalid-sub."""
    op.claims = {"name": GONE}
    values: tuple[Any, ...] = ("bob", GONE, None, "ANN")
    for subject in values:
        op.userinfo, op.requests = {"sub": subject}, []
        refuses(op, "userinfo_subject")


def test_oidcc_client_test_userinfo_bearer_header(op: FakeOIDC) -> None:
    """oidcc-client-test-userinfo-bearer-header."""
    op.claims = {"name": GONE}
    log_in(op)
    assert op.requests[-1].authorization == "Bearer at-ann"
    assert op.requests[-1].method == "GET"


def test_oidcc_client_test_client_secret_basic(op: FakeOIDC) -> None:
    """oidcc-client-test-client-secret-basic."""
    log_in(op, op.provider(client_auth="client_secret_basic"))
    assert [seen.basic for seen in op.requests if seen.path == "/token"] == [(CLIENT_ID, "the-s3cret")]


@each(
    "token", [GONE, None, 5, "", "x", "a.b", "a.b.c.d.e", "a..c", ".", "....", "é.é.é", "e30.e30.e30", "bnVsbA.e30.x"]
)
def test_an_id_token_that_is_none(token: Any, op: FakeOIDC) -> None:
    """An ID token without the three parts of a JWT, or five, is refused."""
    op.token_response = {"id_token": token}
    assert outcome(op) in ("token_malformed", "token_algorithm")


@each("type_", ["at+jwt", "logout+jwt", "secevent+jwt", "", None, 5])
def test_a_token_of_another_type(type_: Any, op: FakeOIDC) -> None:
    """``typ`` is absent or JWT (RFC 8725, section 3.11)."""
    op.header, op.requests = {"typ": type_}, []
    refuses(op, "token_type")


def test_typ_may_be_missing(op: FakeOIDC) -> None:
    """Many providers send none."""
    op.header = {"typ": GONE}
    assert outcome(op) is None


def test_a_sid_that_is_none(op: FakeOIDC) -> None:
    """A session id is 1 to 255 printable characters, or absent."""
    for session_id in ("", "x" * 256, "a\x00b", 5, None):
        op.claims, op.requests = {"sid": session_id}, []
        refuses(op, "token_subject")


# -- CVEs -----------------------------------------------------------------------------------------------------


def forged(op: FakeOIDC, header: Mapping[str, Any], signature: Callable[[bytes], bytes]) -> Callable[[str], str]:
    """Give the token another header, and sign it by other means."""

    def forge(token: str) -> str:
        claims = token.split(".")[1]
        signing_input = f"{encode(json.dumps(header).encode())}.{claims}"
        return f"{signing_input}.{encode(signature(signing_input.encode()))}"

    return forge


def hmac_with(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda message: hmac.digest(secret, message, "sha256")


def test_cve_2024_37568_hmac_with_the_public_key(op: FakeOIDC) -> None:
    """Authlib verified an HMAC with the public key as its secret: HS256 is no algorithm here."""
    op.keys = [Key("r1", "RS256")]
    key = op.keys[0].private
    pem = key.as_pem(private=False)
    for secret in (pem, pem.strip(), json.dumps(op.keys[0].jwk).encode()):
        op.id_token, op.requests = forged(op, {"alg": "HS256", "kid": "r1"}, hmac_with(secret)), []
        refuses(op, "token_algorithm")


def test_cve_2022_29217_and_cve_2026_48526_in_ssh_form(op: FakeOIDC) -> None:
    """PyJWT took public keys of other forms as HMAC secrets."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: Any = make_key("RSA2048").public_key
    ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    op.keys = [Key("r1", "RS256")]
    op.id_token = forged(op, {"alg": "HS256", "kid": "r1"}, hmac_with(ssh))
    refuses(op, "token_algorithm")


def test_cve_2025_59420_unknown_crit(op: FakeOIDC) -> None:
    """Authlib ignored ``crit``: whoever demands an extension is refused."""
    for crit in (["bork"], [], ["b64"], None):
        op.header, op.requests = {"crit": crit, "bork": 1}, []
        refuses(op, "token_header")


def test_cve_2025_61920_a_token_of_10_mb(op: FakeOIDC) -> None:
    """Authlib decoded before it refused: a long token is refused by its length."""
    provider = op.provider()
    provider.start_login("s", CALLBACK)
    for token in ("x" * 10_000_000, "." * 10_000_000, "A" * 5_000_000 + ".e30." + "A" * 5_000_000):
        began = time.thread_time()  # another process may have the processor
        with pytest.raises(ClefError) as caught:
            provider.read_logout({"logout_token": token})
        assert time.thread_time() - began < 0.01
        assert caught.value.reason == "token_malformed"


def test_cve_2026_27962_keys_in_the_header(op: FakeOIDC) -> None:
    """Authlib took the key from the header."""
    other = Key("mine", serial=9)
    for name, value in (
        ("jwk", other.jwk),
        ("jku", op.issuer + "/evil"),
        ("x5u", op.issuer + "/evil"),
        ("x5c", ["MIIB"]),
    ):
        op.id_token, op.requests = lambda token, n=name, v=value: resigned(token, other, {n: v}), []  # type: ignore[misc]
        refuses(op, "token_header")
    assert op.count("/evil") == 0


def resigned(token: str, key: Key, header: Mapping[str, Any]) -> str:
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return signed({"alg": key.algorithm, "kid": key.kid, **header}, claims, key.private)


def test_cve_2026_28802_alg_none(op: FakeOIDC) -> None:
    """Authlib accepted alg none with an empty signature."""
    values: tuple[Any, ...] = ("none", "None", "nOnE", "", None, [], "ES256 ")
    for algorithm in values:
        op.id_token, op.requests = forged(op, {"alg": algorithm}, lambda _: b""), []
        refuses(op, "token_algorithm")


def test_cve_2026_28498_an_unknown_alg(op: FakeOIDC) -> None:
    """Authlib's at_hash check was passed by an unknown algorithm."""
    op.id_token = forged(op, {"alg": "XX999"}, lambda _: b"x")
    refuses(op, "token_algorithm")


def test_cve_2025_61783_people_with_one_address(op: FakeOIDC) -> None:
    """social-auth joined accounts by e-mail: here equal addresses are two people."""
    op.claims = {"email": "same@example.org"}
    ids = {log_in(op, person=person).user["id"] for person in ("ann", "bob")}
    assert ids == {f"{op.issuer}#ann", f"{op.issuer}#bob"}


def test_cve_2025_65431_a_name_that_changes(op: FakeOIDC) -> None:
    """allauth took preferred_username for the key: a person renamed at the provider stays who they are."""
    before = log_in(op).user["id"]
    op.claims = {"preferred_username": "root", "name": "Root"}
    assert log_in(op).user["id"] == before


def test_cve_2024_32879_ids_that_differ_in_case(op: FakeOIDC) -> None:
    """A case-insensitive column merged people: ``Ab`` and ``aB`` are two ids with two keys."""
    provider = op.provider()
    ids = [log_in(op, provider, person).user["id"] for person in ("Ab", "aB")]
    assert len({*ids, *map(provider.user_key, ids)}) == 4


# -- claims ---------------------------------------------------------------------------------------------------


@each(
    ("id_token", "userinfo", "options", "expected"),
    [
        ({}, {}, {}, "ann@example.org"),
        ({"email_verified": "true"}, {}, {}, "ann@example.org"),
        ({"email_verified": False}, {}, {}, None),
        ({"email_verified": 1}, {}, {}, None),
        ({"email_verified": GONE}, {}, {}, None),
        ({"email_verified": GONE}, {"email_verified": True}, {}, None),
        ({"email_verified": GONE}, {"email": "u@example.org", "email_verified": True}, {}, "u@example.org"),
        ({"email": GONE}, {"email": "u@example.org"}, {}, None),
        ({"email_verified": False}, {}, {"claims": ["email=email"]}, "ann@example.org"),
        ({"email": "a@b\n"}, {}, {}, None),
        ({"email": 5}, {}, {}, None),
    ],
)
def test_email(id_token: Any, userinfo: Any, options: Any, expected: str | None, op: FakeOIDC) -> None:
    """An address counts where the same source says that it is verified, or where the site takes any."""
    op.claims, op.userinfo = id_token, userinfo
    assert log_in(op, op.provider(**options)).user.get("email") == expected


def test_claims_are_mapped(op: FakeOIDC) -> None:
    """``key=claim`` takes any JSON; groups are texts; what can't be used is left out."""
    op.claims = {"roles": ["a", 1], "dept": {"n": 1}, "bad": "a\x00", "groups": ["staff", "admins"], "long": "x" * 321}
    claims = ["roles=roles", "department = dept", "bad=bad", "none=missing", "long=long"]
    user = log_in(op, op.provider(claims=claims)).user
    assert (user["roles"], user["department"], user["groups"]) == (["a", 1], {"n": 1}, ["staff", "admins"])
    assert not {"bad", "none", "long"} & user.keys()
    op.claims = {"groups": ["staff", 5]}
    assert "groups" not in log_in(op).user


@each(
    ("required", "claims", "is_let_in"),
    [
        (["groups=staff"], {"groups": ["x", "staff"]}, True),
        (["groups=staff"], {"groups": "staff"}, True),
        (["groups=staff"], {"groups": ["staff2", "STAFF"]}, False),
        (["groups=staff"], {}, False),
        (["groups=staff"], {"groups": None}, False),
        (["groups=staff", "groups=admins"], {"groups": ["admins"]}, True),
        (["groups=staff", "hd=example.org"], {"groups": ["staff"]}, False),
        (["groups=staff", "hd=example.org"], {"groups": ["staff"], "hd": "example.org"}, True),
        (["mfa=true"], {"mfa": True}, True),
        (["level=2"], {"level": 2}, True),
        (["level=1"], {"level": True}, False),
        (["email=ann@example.org"], {}, True),
        (["email=ann@example.org"], {"email_verified": False}, False),
    ],
)
def test_require_claims(required: list[str], claims: dict[str, Any], is_let_in: bool, op: FakeOIDC) -> None:
    """A person without the required claims gets 403 ``not_allowed``; an unverified address does not count."""
    op.claims = claims
    ann = site(op, require_claims=required)
    answer = come_back(ann, op)
    if is_let_in:
        assert answer.status_int == 303
    else:
        assert (answer.status_int, answer.json["error"]) == (403, "not_allowed")
        assert ann.user is None


def test_a_wrong_account_is_no_dead_end(op: FakeOIDC) -> None:
    """The 403 page names the account, and its button asks the provider for another one (``prompt=select_account``)."""
    op.claims = {"email": "ann@example.org", "email_verified": True}
    ann = site(op, require_claims=("email=bob@example.org",))
    answered = op.approve(ann.get("/clef/login", status=303).location, "ann")
    page = ann.get("/clef/callback?" + urlencode(answered), status=403)
    assert "ann@example.org" in page.html.main.text
    (button,) = [link for link in page.html.find_all("a") if link.text == "Use another account"]
    location = ann.get(button["href"], status=303).location
    assert parse_qs(urlsplit(location).query)["prompt"] == ["select_account"]


def test_claims_elsewhere(op: FakeOIDC) -> None:
    """A wanted claim that only an address is sent for (Entra above 200 groups) has a reason of its own."""
    op.claims = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": op.issuer + "/evil"}}}
    refuses(op, "claims_elsewhere")
    op.claims = {"_claim_names": {"dept": "src1"}}
    assert outcome(op, op.provider(claims=["department=dept"])) == "claims_elsewhere"
    assert outcome(op) is None
    op.claims = {"_claim_names": ["groups"]}
    assert outcome(op) is None
    assert op.count("/evil") == 0


def test_userinfo_that_is_signed(op: FakeOIDC) -> None:
    """``application/jwt`` has a reason of its own; its content is not read."""
    op.claims = {"name": GONE}
    op.says["/userinfo"] = (200, {"Content-Type": "application/jwt; charset=utf-8"}, b"e30.e30.x")
    answer = come_back(site(op), op)
    assert (answer.status_int, answer.json["error"]) == (503, "userinfo_signed")


@each("token", [GONE, None, 5, "caf\u00e9", "a\r\nHost: b"])
def test_an_access_token_that_no_header_can_hold(token: Any, op: FakeOIDC) -> None:
    """What can't stand in the header is not sent on, and the login does not go on without its claims."""
    op.claims, op.token_response = {"name": GONE, "at_hash": GONE}, {"access_token": token}
    assert outcome(op) == "provider_answer"
    assert op.count("/userinfo") == 0


@each("answer", [(401, {}, b"{}"), (200, {}, b"[]"), (302, {"Location": "/x"}, b""), (200, {}, b"x" * 70_000)])
def test_userinfo_without_sense(answer: Any, op: FakeOIDC) -> None:
    """A login does not go on without the claims that were to come."""
    op.claims, op.says["/userinfo"] = {"name": GONE}, answer
    assert outcome(op) == "provider_answer"


def test_no_userinfo_endpoint(op: FakeOIDC) -> None:
    """A provider without a userinfo endpoint is used with the ID token alone."""
    op.claims, op.metadata = {"name": GONE}, {"userinfo_endpoint": GONE}
    assert "name" not in log_in(op).user


# -- nothing secret -------------------------------------------------------------------------------------------


def test_no_text_holds_a_secret(op: FakeOIDC) -> None:
    """No repr, message or traceback line of ours holds the secret, a code, a token or what the peer said."""
    op.claims = {"iss": "https://evil.example/foreign"}
    provider = op.provider()
    start = provider.start_login("state", CALLBACK)
    query = op.approve(start.url)
    with pytest.raises(ClefError) as caught:
        provider.finish_login(query, start.provider_state, CALLBACK)
    told = "".join(traceback.format_exception(caught.value)) + repr(provider) + repr(start) + repr(vars(caught.value))
    for secret in ("the-s3cret", query["code"], "at-ann", "foreign", start.provider_state["nonce"]):
        assert secret not in told
    assert "eyJ" not in told


def test_what_does_not_apply_is_no_test() -> None:
    """The list of what does not apply names no test of this file."""
    ours = {name.removeprefix("test_oidcc_client_test_").replace("_", "-") for name in globals()}
    assert not ours & set(NOT_APPLICABLE)
    assert changed({}, {"a": GONE}) == {}
