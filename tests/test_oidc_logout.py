"""Back-channel logout by OpenID Connect: every logout token that must not be believed, and what a good one ends."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import NOON, Browser, FakeClock, browser, make_app
from support.cases import each
from support.fake_oidc import CLIENT_ID, GONE, LOGOUT_EVENT, FakeOIDC, Key, encode, signed, slowly
from support.forks import result_in_child

from clef_wsgi import webhook_limit
from clef_wsgi.base.errors import LogoutRefused, ProviderUnavailable
from clef_wsgi.providers.oidc import OIDCProvider
from clef_wsgi.stores.memory import MemoryLogoutStore

CALLBACK = "https://www.example.com/clef/callback"
REFUSALS = ("token_malformed", "token_algorithm", "token_issuer", "token_signature", "provider_keys")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def op(clock: FakeClock) -> Iterator[FakeOIDC]:
    with FakeOIDC(clock=clock) as fake:
        yield fake


class CountingStore(MemoryLogoutStore):
    """Counts the logouts that were to be recorded."""

    def __init__(self) -> None:
        self.records: list[tuple[str, ...]] = []
        super().__init__()
        self.records.clear()

    def record_logout(self, keys: Any, **given: Any) -> bool:
        self.records.append(tuple(keys))
        return super().record_logout(keys, **given)


class Site:
    """A wrapped app with one person logged in, and the record of what reached its store."""

    def __init__(self, op: FakeOIDC, **options: Any) -> None:
        self.op, self.store = op, CountingStore()
        self.provider = op.provider(**options)
        self.app = make_app(provider=self.provider, store=self.store)
        self.ann = self.log_in()

    def log_in(self, person: str = "ann", **claims: Any) -> Browser:
        visitor = browser(self.app)
        self.op.claims = claims
        location = visitor.get("/clef/login", status=303).location
        visitor.get("/clef/callback?" + urlencode(self.op.approve(location, person)), status=303)
        self.op.claims = {}
        self.store.records.clear()  # a login that replaces another ends that
        return visitor

    def refuses(self, token: str, reason: str, status: int = 400) -> None:
        """The webhook answers so, no record is made, and the session lives."""
        asked = len(self.op.requests)
        answer = self.ann.notify(token, expect_errors=True)
        assert (answer.status_int, answer.json["error"]) == (status, reason)
        assert answer.headers["Cache-Control"] == "no-store"
        assert self.store.records == []
        assert self.ann.user is not None
        assert len(self.op.requests) == asked

    def takes(self, token: str) -> None:
        """The webhook answers 200, and the login has ended."""
        assert self.ann.notify(token, status=200).headers["Cache-Control"] == "no-store"
        assert self.ann.user is None


# -- modules of the conformance suite, under their names ------------------------------------------------------


def test_rp_backchannel_rpinitlogout(op: FakeOIDC) -> None:
    """oidcc-client-test-rp-backchannel-rpinitlogout: the session ends, and the provider is not asked."""
    site = Site(op)
    asked = len(op.requests)
    site.takes(op.logout_token(sub="ann", sid="sid-of-ann"))
    assert len(op.requests) == asked


def test_rp_backchannel_rpinitlogout_alg_none(op: FakeOIDC) -> None:
    """...-alg-none."""
    site = Site(op)
    claims = op.logout_token(sub="ann").split(".")[1]
    values: tuple[Any, ...] = ("none", "None", "nOnE")
    for algorithm in values:
        header = encode(json.dumps({"alg": algorithm}).encode())
        site.refuses(f"{header}.{claims}.", "token_algorithm")


def test_rp_backchannel_rpinitlogout_wrong_alg(op: FakeOIDC) -> None:
    """...-wrong-alg: an algorithm that is not among those of this site, with a good signature of a good key."""
    op.keys = [Key("k1"), Key("k2", "ES384", 2)]
    site = Site(op)
    site.refuses(op.logout_token(sub="ann", key=op.keys[1]), "token_algorithm")


def test_rp_backchannel_rpinitlogout_wrong_iss(op: FakeOIDC) -> None:
    """...-wrong-iss."""
    site = Site(op)
    for issuer in ("https://evil.example", op.issuer + "/", GONE, None, [op.issuer]):
        site.refuses(op.logout_token(sub="ann", iss=issuer), "token_issuer")


def test_rp_backchannel_rpinitlogout_wrong_aud(op: FakeOIDC) -> None:
    """...-wrong-aud; another audience beside ours is allowed."""
    site = Site(op)
    values: tuple[Any, ...] = ("another", ["another"], [], GONE, None, CLIENT_ID.upper())
    for audience in values:
        site.refuses(op.logout_token(sub="ann", aud=audience), "token_audience")
    site.takes(op.logout_token(sub="ann", aud=["another", CLIENT_ID]))


def test_rp_backchannel_rpinitlogout_no_event(op: FakeOIDC) -> None:
    """...-no-event."""
    site = Site(op)
    values: tuple[Any, ...] = (GONE, None, {}, [], "x", [LOGOUT_EVENT], LOGOUT_EVENT)
    for events in values:
        site.refuses(op.logout_token(sub="ann", events=events), "token_event")


def test_rp_backchannel_rpinitlogout_wrong_event(op: FakeOIDC) -> None:
    """...-wrong-event; the member is an object."""
    site = Site(op)
    members: tuple[Any, ...] = (None, True, [], "", 1)
    for events in ({"http://evil.example/event": {}}, *({LOGOUT_EVENT: member} for member in members)):
        site.refuses(op.logout_token(sub="ann", events=events), "token_event")


def test_rp_backchannel_rpinitlogout_with_nonce(op: FakeOIDC) -> None:
    """...-with-nonce, whatever it is."""
    site = Site(op)
    for nonce in ("n", "", None):
        site.refuses(op.logout_token(sub="ann", nonce=nonce), "token_nonce")


# -- row 29 and CVEs ------------------------------------------------------------------------------------------


def test_row_29_other_tokens(op: FakeOIDC) -> None:
    """Row 29: no jti, no sub and sid, exp past, iat in the future, crit, embedded keys, another type."""
    site, other = Site(op), Key("mine", serial=9)
    for jti in (GONE, "", None, 5):
        site.refuses(op.logout_token(sub="ann", jti=jti), "token_jti")
    for claims in (
        {},
        {"sub": ""},
        {"sid": ""},
        {"sub": None},
        {"sub": "ann", "sid": 5},
        {"sub": "é"},
        {"sid": "x" * 256},
        {"sid": "a\nb"},
    ):
        site.refuses(op.logout_token(**claims), "token_subject")
    for end in (NOON - 60, NOON - 400, None, True, "9999999999"):
        site.refuses(op.logout_token(sub="ann", iat=NOON - 500, exp=end), "token_expired")
    values: tuple[Any, ...] = (NOON + 61, GONE, None, True, "1800000000")
    for issued_at in values:
        site.refuses(op.logout_token(sub="ann", iat=issued_at), "token_issued_at")
    for name, value in (
        ("crit", ["bork"]),
        ("jwk", other.jwk),
        ("jku", op.issuer + "/evil"),
        ("x5c", ["a"]),
        ("b64", 0),
    ):
        site.refuses(op.logout_token(sub="ann", key=other, header={name: value}), "token_header")
    for type_ in ("at+jwt", "id_token+jwt", "secevent+jwt", "", None):
        site.refuses(op.logout_token(sub="ann", header={"typ": type_}), "token_type")


def test_row_29_hmac_with_the_public_key(op: FakeOIDC) -> None:
    """Row 29, CVE-2024-37568: HS256 with the public key as its secret."""
    import hmac

    op.keys = [Key("r1", "RS256")]
    site = Site(op)
    claims = op.logout_token(sub="ann").split(".")[1]
    head = encode(json.dumps({"alg": "HS256", "kid": "r1"}).encode())
    mac = hmac.digest(op.keys[0].private.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    site.refuses(f"{head}.{claims}.{encode(mac)}", "token_algorithm")


def test_row_29_an_id_token_instead(op: FakeOIDC) -> None:
    """Row 29: an ID token ends nothing; a logout token logs nobody in."""
    site = Site(op)
    now = int(NOON)
    claims = {"iss": op.issuer, "aud": CLIENT_ID, "sub": "ann", "iat": now, "exp": now + 300, "jti": "x", "nonce": "n"}
    site.refuses(signed({"alg": "ES256", "kid": "k1"}, claims, op.keys[0].private), "token_event")
    op.id_token = lambda _: op.logout_token(sub="ann", sid="s", header={"typ": "JWT"})
    visitor = browser(site.app)
    location = visitor.get("/clef/login", status=303).location
    visitor.get("/clef/callback?" + urlencode(op.approve(location)), status=400)
    assert visitor.user is None


@each(
    "change",
    [
        {"typ": GONE},
        {"typ": "JWT"},
        {"typ": "jwt"},
        {"typ": "application/JWT"},
        {"typ": "application/logout+jwt"},
        {"typ": "Logout+JWT"},
        {"kid": GONE},
    ],
)
def test_real_providers_send_it(change: Mapping[str, Any], op: FakeOIDC) -> None:
    """A type of JWT or none, and no kid, are not hostile."""
    Site(op).takes(op.logout_token(sub="ann", header=change))


@each(("at", "reason"), [(-1, None), (0, "token_expired"), (1, "token_expired")])
def test_the_clock_without_an_end(at: int, reason: str | None, op: FakeOIDC, clock: FakeClock) -> None:
    """Without ``exp`` (glewlwyd, older Keycloak and authentik) a token lives 120 seconds and the leeway."""
    site = Site(op)
    token = op.logout_token(sub="ann", exp=GONE, iat=NOON - 120 - 60 - at)
    site.takes(token) if reason is None else site.refuses(token, reason)


@each(("at", "reason"), [(-1, None), (0, "token_expired"), (1, "token_expired")])
def test_the_clock_at_the_end(at: int, reason: str | None, op: FakeOIDC) -> None:
    """``exp`` and the leeway: -1, 0, +1 second."""
    site = Site(op)
    token = op.logout_token(sub="ann", iat=NOON - 100, exp=NOON - 60 - at)
    site.takes(token) if reason is None else site.refuses(token, reason)


@each(("at", "reason"), [(-1, None), (0, None), (1, "token_issued_at")])
def test_the_clock_at_the_issue(at: int, reason: str | None, op: FakeOIDC) -> None:
    """``iat`` may be ahead by the leeway."""
    site = Site(op)
    token = op.logout_token(sub="ann", iat=NOON + 60 + at)
    site.takes(token) if reason is None else site.refuses(token, reason)


def test_an_end_in_years_is_taken_as_an_hour(op: FakeOIDC) -> None:
    """A token that was kept can't be used for ever."""
    site = Site(op)
    site.refuses(op.logout_token(sub="ann", iat=NOON - 3660, exp=NOON + 10**9), "token_expired")
    site.takes(op.logout_token(sub="ann", iat=NOON - 3659, exp=NOON + 10**9))


def twin(token: str) -> str:
    """The other signature of the same ES256 key over the same text: (r, n - s)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    other = order - int.from_bytes(raw[32:], "big")
    return f"{head}.{encode(raw[:32] + other.to_bytes(32, 'big'))}"


def test_a_twin_signature_is_the_same_token(op: FakeOIDC) -> None:
    """ES256 signatures have a twin: replayed with it, a token has no second effect."""
    site = Site(op)
    token = op.logout_token(sub="ann")
    first, second = (site.provider.read_logout({"logout_token": each}) for each in (token, twin(token)))
    assert first.idempotency_key == second.idempotency_key
    assert token not in str(first.idempotency_key)
    site.takes(token)
    site.ann = site.log_in()
    site.ann.notify(twin(token), status=200)
    assert site.ann.user is not None


def test_one_jti_for_two_logouts(op: FakeOIDC) -> None:
    """A provider that puts the session's id into jti can still log out twice."""
    site = Site(op)
    site.takes(op.logout_token(sub="ann", jti="sid-of-ann"))
    site.ann = site.log_in()
    site.takes(op.logout_token(sub="ann", jti="sid-of-ann", iat=NOON + 1))


# -- what a logout ends ---------------------------------------------------------------------------------------


@each(
    ("login", "logout", "options", "ends"),
    [
        ({"sid": "a"}, {"sid": "a"}, {}, True),
        ({"sid": "a"}, {"sid": "b"}, {}, False),
        ({"sid": "a"}, {"sub": "ann"}, {}, True),
        ({"sid": "a"}, {"sub": "ann", "sid": "b"}, {}, False),
        ({"sid": GONE}, {"sub": "ann", "sid": "b"}, {}, True),
        ({"sid": GONE}, {"sid": "b"}, {}, False),
        ({"sid": GONE}, {"sub": "ann"}, {}, True),
        ({"sid": "a"}, {"sub": "ann", "sid": "b"}, {"logout_scope": "person"}, True),
        ({"sid": "a"}, {"sid": "a"}, {"logout_scope": "person"}, True),
        ({"sid": "a"}, {"sub": "bob"}, {}, False),
        ({"sid": GONE}, {"sub": "bob", "sid": "a"}, {}, False),
    ],
)
def test_what_ends(login: Any, logout: Any, options: Any, ends: bool, op: FakeOIDC) -> None:
    """A session by its sid; a login without one by any logout of its person; all by sub alone."""
    site = Site(op, **options)
    ann = site.log_in(**login)
    ann.notify(op.logout_token(**logout), status=200)
    assert (ann.user is None) == ends


def test_keys_name_provider_and_client(op: FakeOIDC) -> None:
    """Logout keys are JSON lists that begin with oidc, issuer and client id: sites may share a store."""
    provider, other = op.provider(), op.provider(client_id="another")
    logout = provider.read_logout({"logout_token": op.logout_token(sub="ann", sid="s")})
    for key in (*logout.keys, provider.user_key("x")):
        assert json.loads(key)[:3] == ["oidc", op.issuer, CLIENT_ID]
    assert provider.user_key("x") != other.user_key("x")


class Model:
    """The rule in ten lines: which logins a logout ends, each logout once."""

    def __init__(self) -> None:
        self.logins: list[tuple[str, str | None, bool]] = []
        self.seen: set[int] = set()

    def log_in(self, person: str, session_id: str | None) -> None:
        self.logins.append((person, session_id, True))

    def log_out(self, token: int, person: str | None, session_id: str | None) -> None:
        def ends(who: str, where: str | None) -> bool:
            return where == session_id if session_id and where else who == person and (not session_id or not where)

        if token not in self.seen:
            self.logins = [(who, at, lives and not ends(who, at)) for who, at, lives in self.logins]
        self.seen.add(token)


people, sids = st.sampled_from(["ann", "bob"]), st.sampled_from([None, "s1", "s2"])
steps = st.one_of(
    st.tuples(st.just("login"), people, sids),
    st.tuples(st.just("logout"), st.sampled_from([None, "ann", "bob"]), sids),
    st.tuples(st.sampled_from(["replay", "twin", "late"]), st.integers(0, 9), st.none()),
)


@pytest.fixture(scope="module")
def lasting_op() -> Iterator[FakeOIDC]:
    with FakeOIDC(clock=FakeClock()) as fake:
        yield fake


@pytest.fixture(scope="module")
def lasting_provider(lasting_op: FakeOIDC) -> OIDCProvider:
    return lasting_op.provider()


@pytest.mark.slow
@given(history=st.lists(steps, max_size=12))
@settings(max_examples=150)
def test_random_histories(
    lasting_op: FakeOIDC, lasting_provider: OIDCProvider, history: list[tuple[str, Any, Any]]
) -> None:
    """Logins with and without sid, logouts by sid, sub and both, replayed, re-signed, late: as the model has it."""
    op, provider, store, model = lasting_op, lasting_provider, MemoryLogoutStore(), Model()
    logins: list[tuple[tuple[str, ...], int]] = []
    tokens: list[tuple[str, str | None, str | None]] = []
    late: list[tuple[int, str]] = []

    def deliver(number: int, token: str) -> None:
        logout = provider.read_logout({"logout_token": token})
        store.record_logout(logout.keys, **idempotent(logout.idempotency_key))
        model.log_out(number, *tokens[number][1:])

    for kind, first, second in history:
        if kind == "login":
            op.claims = {"sid": second or GONE}
            start = provider.start_login("state", CALLBACK)
            started = store.tick()
            identity = provider.finish_login(op.approve(start.url, first), start.provider_state, CALLBACK)
            logins.append(((provider.user_key(identity.user["id"]), *identity.keys), started))
            model.log_in(first, second)
        elif kind == "logout" and (first or second):
            claims = {"sub": first or GONE, "sid": second or GONE}
            tokens.append((op.logout_token(**claims), first, second))
            if len(tokens) % 3:
                deliver(len(tokens) - 1, tokens[-1][0])
            else:
                late.append((len(tokens) - 1, tokens[-1][0]))
        elif kind in ("replay", "twin") and tokens:
            number = first % len(tokens)
            if number not in [waiting for waiting, _ in late]:
                deliver(number, tokens[number][0] if kind == "replay" else twin(tokens[number][0]))
        elif kind == "late" and late:
            deliver(*late.pop())
    living = [store.newest_logout(keys) < started for keys, started in logins]
    assert living == [lives for _, _, lives in model.logins]


def idempotent(key: str | None) -> dict[str, Any]:
    import inspect

    names = inspect.signature(MemoryLogoutStore.record_logout).parameters
    return {"idempotency_key" if "idempotency_key" in names else "once": key}


# -- keys that are not known yet ------------------------------------------------------------------------------


def read(provider: OIDCProvider, token: str) -> str | None:
    """The reason of a refusal, or None."""
    try:
        provider.read_logout({"logout_token": token})
    except (LogoutRefused, ProviderUnavailable) as error:
        return error.reason
    return None


def log_in(op: FakeOIDC, provider: OIDCProvider, person: str = "ann") -> str:
    start = provider.start_login("state", CALLBACK)
    return str(provider.finish_login(op.approve(start.url, person), start.provider_state, CALLBACK).user["id"])


@pytest.mark.slow
def test_junk_with_new_kids_then_a_rotation(op: FakeOIDC, clock: FakeClock) -> None:
    """1,000 junk tokens with new kids cost five fetches; then a rotation: a login and a logout both work at once."""
    provider, other = op.provider(), Key("mine", serial=9)
    log_in(op, provider)
    clock.advance(2)
    before = op.count("/jwks")
    outcomes = set()
    for number in range(1000):
        clock.advance(0.01)
        outcomes.add(read(provider, op.logout_token(sub="ann", key=other, header={"kid": f"junk-{number}"})))
    assert outcomes <= {"token_signature", "webhook_busy", "provider_keys"}
    assert op.count("/jwks") - before <= 5 + 1
    clock.advance(2)
    op.rotate()
    assert log_in(op, provider) == f"{op.issuer}#ann"
    assert read(provider, op.logout_token(sub="ann")) is None


def test_an_empty_budget_says_when_to_come_again(op: FakeOIDC, clock: FakeClock) -> None:
    """With the budget spent the answer is 503 with Retry-After, never 400; ten seconds give one fetch back."""
    provider, other = op.provider(), Key("mine", serial=9)
    log_in(op, provider)
    for number in range(5):
        clock.advance(1.5)
        assert read(provider, op.logout_token(sub="ann", key=other, header={"kid": f"j{number}"})) == "token_signature"
    op.rotate()
    clock.advance(1.5)
    with pytest.raises(ProviderUnavailable) as caught:
        provider.read_logout({"logout_token": op.logout_token(sub="ann")})
    assert (caught.value.reason, caught.value.retry_after) == ("webhook_busy", 10)
    clock.advance(10)
    assert read(provider, op.logout_token(sub="ann")) is None


def test_junk_that_does_not_fit_asks_nobody(op: FakeOIDC, clock: FakeClock) -> None:
    """A key is asked for only after iss, aud, typ, iat and the event were read and fit."""
    provider = op.provider()
    log_in(op, provider)
    clock.advance(2)
    before, other = len(op.requests), Key("mine", serial=9)
    misfits: list[dict[str, Any]] = [
        {"iss": "x"},
        {"aud": "x"},
        {"iat": NOON + 999},
        {"events": {}},
        {"header": {"typ": "x"}},
    ]
    for change in misfits:
        for number in range(10):
            header = {"kid": f"j{number}", **change.get("header", {})}
            claims = {name: value for name, value in change.items() if name != "header"}
            assert read(provider, op.logout_token(sub="ann", key=other, header=header, **claims)) != "token_signature"
    assert len(op.requests) == before


def test_signing_key_rotation(op: FakeOIDC, clock: FakeClock) -> None:
    """oidcc-client-test-signing-key-rotation: a logout token of a new key is read at once."""
    site = Site(op)
    clock.advance(2)
    op.rotate()
    site.takes(op.logout_token(sub="ann"))
    clock.advance(2)
    op.rotate()
    site.ann = site.log_in()


def test_a_known_kid_asks_nobody(op: FakeOIDC, clock: FakeClock) -> None:
    """A wrong signature under a known kid is refused without a fetch."""
    provider = op.provider()
    log_in(op, provider)
    clock.advance(2)
    before = len(op.requests)
    token = op.logout_token(sub="ann", key=Key("k1", serial=9))
    assert [read(provider, token) for _ in range(20)] == ["token_signature"] * 20
    assert len(op.requests) == before


def test_a_logout_before_any_login(op: FakeOIDC) -> None:
    """A process that has just started fetches metadata and keys for its first logout."""
    assert read(op.provider(), op.logout_token(sub="ann")) is None


@pytest.mark.slow
def test_strangers_hold_two_threads_at_most(op: FakeOIDC) -> None:
    """Row 86: while the provider is silent, two logouts wait for its keys and all others are answered soon."""
    op.says["/.well-known/openid-configuration"] = slowly(1.5, (200, {}, b"{}"))
    provider = op.provider(timeout_seconds=3.0)

    def post(number: int) -> tuple[Any, float]:
        began = time.monotonic()
        return read(provider, op.logout_token(sub=f"p{number}")), time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    quick = [reason for reason, seconds in answers if seconds < 1.2]
    assert quick.count("webhook_busy") == 6
    assert webhook_limit.MAX_UNDER_WAY == 2


def test_the_provider_is_down(op: FakeOIDC) -> None:
    """A logout that can't be judged is 503, so that it is sent again; nothing is recorded."""
    store = CountingStore()
    ann = browser(make_app(provider=op.provider(), store=store))
    op.says["/.well-known/openid-configuration"] = (503, {}, b"")
    answer = ann.notify(op.logout_token(sub="ann"), expect_errors=True)
    assert (answer.status_int, answer.json["error"]) == (503, "provider_unavailable")
    assert "Retry-After" in answer.headers
    assert store.records == []


def test_no_exception_leaves_but_ours(op: FakeOIDC, clock: FakeClock) -> None:
    """Whatever stands in a token, the errors are those of the package's tree."""
    provider = op.provider()
    log_in(op, provider)
    clock.advance(2)
    good = op.logout_token(sub="ann")
    head, body, signature = good.split(".")
    odd = ["A", "é", "=", "e30", "W10", "bnVsbA", "eyJhbGciOiJFUzI1NiJ9", encode(b"\xff\xfe"), encode(b"[" * 5000), ""]
    for part in odd:
        for token in (f"{part}.{body}.{signature}", f"{head}.{part}.{signature}", f"{head}.{body}.{part}", part):
            assert read(provider, token) in REFUSALS


@given(token=st.one_of(st.text(), st.binary().map(lambda raw: encode(raw) + ".e30." + encode(raw))))
@settings(max_examples=200)
def test_any_text(lasting_op: FakeOIDC, lasting_provider: OIDCProvider, token: str) -> None:
    """Any text is refused with a reason, and asks nobody."""
    asked = len(lasting_op.requests)
    assert str(read(lasting_provider, token)).startswith("token_")
    assert len(lasting_op.requests) == asked


def test_no_log_line_holds_a_token(op: FakeOIDC, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a refused nor a recorded logout leaves token, sub or sid in the log."""
    caplog.set_level(logging.DEBUG)
    site = Site(op)
    bad, good = op.logout_token(sub="ann", nonce="n-0-n-c-e"), op.logout_token(sub="ann", sid="sid-of-ann")
    site.refuses(bad, "token_nonce")
    site.takes(good)
    lines = caplog.text
    assert lines
    for secret in (bad, good, "n-0-n-c-e", "sid-of-ann", "the-s3cret", "eyJ"):
        assert secret not in lines


@pytest.mark.process
def test_locks_and_caches_survive_a_fork(op: FakeOIDC, clock: FakeClock) -> None:
    """Locks and caches survive a fork while another thread holds them: gunicorn forks a loaded app."""
    provider = op.provider(timeout_seconds=30)  # a busy machine is slow to begin with a child
    log_in(op, provider)
    renewed = provider._keys._set
    locks = [renewed._lock, provider._metadata._lock, provider._keys._budget._lock]
    for lock in locks:
        lock.acquire()
    clock.advance(2)
    known, unknown = op.logout_token(sub="ann"), op.logout_token(sub="ann", key=op.rotate())
    is_free = result_in_child(lambda: [read(provider, known), read(provider, unknown)] == [None, None])
    for lock in locks:
        lock.release()
    assert is_free
