"""The other side of OpenID Connect: metadata and keys as they are fetched and renewed, client authentication, check."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from joserfc.jwt import decode
from support.app import FakeClock
from support.cases import each
from support.fake_oidc import CLIENT_ID, CLIENT_SECRET, GONE, PLAIN_SECRET, FakeOIDC, Key, Seen, make_key, slowly
from support.forks import result_in_child
from support.threads import no_thread_to_be_had

from clef_wsgi.base.errors import ClefError, ProviderUnavailable
from clef_wsgi.providers.oidc import OIDCProvider
from clef_wsgi.providers.renewal import THREAD_NAME, Renewed

CALLBACK = "https://www.example.com/clef/callback"
DISCOVERY = "/.well-known/openid-configuration"
HOUR, DAY = 3600.0, 24 * 3600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def op(clock: FakeClock) -> Iterator[FakeOIDC]:
    with FakeOIDC(clock=clock) as fake:
        yield fake


def log_in(op: FakeOIDC, provider: OIDCProvider) -> str | None:
    """The reason of a refusal, or None."""
    try:
        start = provider.start_login("state", CALLBACK)
        provider.finish_login(op.approve(start.url), start.provider_state, CALLBACK)
    except ClefError as error:
        return error.reason
    return None


def begin(provider: OIDCProvider) -> str | None:
    try:
        provider.start_login("state", CALLBACK)
    except ProviderUnavailable as error:
        return error.reason
    return None


def await_renewals() -> None:
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(10)


def say(document: Any, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(document).encode()


# -- metadata -------------------------------------------------------------------------------------------------


def test_oidcc_client_test_discovery_openid_config(op: FakeOIDC) -> None:
    """oidcc-client-test-discovery-openid-config: asked when first needed, and once."""
    provider = op.provider()
    assert op.requests == []
    assert [begin(provider) for _ in range(3)] == [None] * 3
    assert [seen.path for seen in op.requests] == [DISCOVERY]


def test_oidcc_client_test_discovery_jwks_uri_keys(op: FakeOIDC) -> None:
    """oidcc-client-test-discovery-jwks-uri-keys: the keys come from where the metadata says."""
    op.metadata = {"jwks_uri": f"{op.issuer}/elsewhere/keys"}
    op.says["/elsewhere/keys"] = say({"keys": [key.jwk for key in op.keys]})
    assert log_in(op, op.provider()) is None


def test_oidcc_client_test_discovery_issuer_mismatch(op: FakeOIDC) -> None:
    """oidcc-client-test-discovery-issuer-mismatch: byte for byte, and no browser is sent away."""
    for issuer in ("https://evil.example", op.issuer.upper(), None, GONE, [op.issuer]):
        op.metadata = {"issuer": issuer}
        with pytest.raises(ProviderUnavailable) as caught:
            op.provider().start_login("s", CALLBACK)
        assert caught.value.reason == "issuer_mismatch"
        assert "evil" not in str(caught.value)


def test_a_slash_more_or_less(op: FakeOIDC) -> None:
    """A difference of one final slash has a sentence that says what to write."""
    op.metadata = {"issuer": op.issuer + "/"}
    with pytest.raises(ProviderUnavailable, match=rf"write issuer='{op.issuer}/'"):
        op.provider().start_login("s", CALLBACK)
    op.metadata = {}
    with pytest.raises(ProviderUnavailable, match=rf"write issuer='{op.issuer}'"):
        op.provider(issuer=op.issuer + "/").start_login("s", CALLBACK)
    op.metadata = {"issuer": op.issuer + "/"}
    assert begin(op.provider(issuer=op.issuer + "/")) is None
    assert {seen.path for seen in op.requests} == {DISCOVERY}


@each("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"])
def test_an_address_that_can_not_be_used(name: str, op: FakeOIDC) -> None:
    """Each address is absolute, http(s), without user and fragment; those that are needed are there."""
    host = op.issuer.removeprefix("http://")
    bad = ["/relative", f"http://u:p@{host}/x", f"{op.issuer}/x#f", "http://elsewhere.example/x", "javascript:alert(1)"]
    for address in [*bad, "", None, 5, [], *([GONE] if "endpoint" not in name else [])]:
        op.metadata = {name: address}
        assert begin(op.provider()) == "provider_metadata", address


def test_an_https_issuer_has_https_addresses() -> None:
    """Plain http is allowed only where the issuer itself is http."""
    from clef_wsgi.providers.http_client import HttpClient
    from clef_wsgi.providers.oidc.metadata import Discovery

    discovery = Discovery(HttpClient(), "https://login.example", allow_http_hosts=["a.example"], clock=time.time)
    with pytest.raises(ProviderUnavailable) as caught:
        discovery._checked("token_endpoint", "http://localhost/token")
    assert caught.value.reason == "provider_metadata"


@each(
    ("answer", "reason"),
    [
        ((200, {}, b"<html>"), "provider_answer"),
        ((200, {}, b""), "provider_answer"),
        ((200, {}, b"null"), "provider_answer"),
        ((200, {}, b"[" * 60_000), "provider_answer"),
        ((200, {}, b"x" * 70_000), "provider_answer"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)), "provider_answer"),
        ((301, {"Location": "/elsewhere"}, b""), "provider_answer"),
        ((307, {"Location": "/elsewhere"}, b""), "provider_answer"),
        ((404, {}, b"{}"), "provider_metadata"),
        ((500, {}, b"{}"), "provider_unavailable"),
        ((429, {"Retry-After": "60"}, b"{}"), "provider_unavailable"),
    ],
)
def test_metadata_without_sense(answer: Any, reason: str, op: FakeOIDC) -> None:
    """HTML, redirects, bombs: a reason, one request, and nobody is sent anywhere."""
    op.says[DISCOVERY], op.requests = answer, []
    assert begin(op.provider()) == reason
    assert [seen.path for seen in op.requests] == [DISCOVERY]


def test_unasked_gzip_is_read(op: FakeOIDC) -> None:
    """A front that compresses all the same is read, within the cap."""
    document = json.dumps(op._metadata()).encode()
    op.says[DISCOVERY] = (200, {"Content-Encoding": "gzip"}, gzip.compress(document))
    assert begin(op.provider()) is None


def test_a_site_starts_while_its_provider_is_down(op: FakeOIDC, clock: FakeClock) -> None:
    """After a failure the next try is 30 s later, doubling to 10 minutes; in between 503 at once."""
    provider = op.provider()
    op.says[DISCOVERY] = (503, {}, b"")
    for expected, pause in enumerate((30, 60, 120, 240, 480, 600, 600), 1):
        assert begin(provider) == "provider_unavailable"
        clock.advance(pause - 1)
        assert begin(provider) == "provider_unavailable"
        assert op.count(DISCOVERY) == expected
        clock.advance(1)
    op.says.clear()
    assert begin(provider) is None


def test_no_thread_to_be_had(op: FakeOIDC) -> None:
    """Where the system has no thread to give, the login fails with a reason, and the next one asks the provider."""
    provider = op.provider()
    with no_thread_to_be_had():
        assert begin(provider) == "provider_unavailable"
    assert op.requests == []
    assert begin(provider) is None


def test_a_fetch_that_breaks(clock: FakeClock) -> None:
    """What a library raises is trouble of the provider, by its class alone: its text may hold what the peer sent."""
    texts = ["before"]

    def fetch() -> str:
        return texts[1]

    renewed = Renewed(fetch, clock=clock)
    with pytest.raises(ProviderUnavailable) as caught:
        renewed.current(10)
    assert (caught.value.reason, vars(caught.value)["cause"]) == ("provider_answer", "IndexError")
    assert "list index" not in str(caught.value)
    texts.append("fetched")
    clock.advance(HOUR)
    assert renewed.current(10) == "fetched"


def test_the_clock_set_back(op: FakeOIDC, clock: FakeClock) -> None:
    """A clock that was set back does not keep a failed provider out for that long."""
    provider = op.provider()
    op.says[DISCOVERY] = (503, {}, b"")
    assert begin(provider) == "provider_unavailable"
    op.says.clear()
    clock.advance(-DAY)
    assert begin(provider) is None


def test_renewal_is_beside_the_request(op: FakeOIDC, clock: FakeClock) -> None:
    """Metadata and keys of more than an hour are renewed by a thread, while requests go on with what is there."""
    provider = op.provider()
    assert log_in(op, provider) is None
    clock.advance(HOUR + 1)
    may_go_on = threading.Event()
    op.says[DISCOVERY] = lambda: (may_go_on.wait(10), say(op._metadata()))[1]
    began = time.monotonic()
    assert [begin(provider) for _ in range(5)] == [None] * 5
    assert time.monotonic() - began < 2
    may_go_on.set()
    await_renewals()
    assert op.count(DISCOVERY) == 2
    assert log_in(op, provider) is None
    await_renewals()
    assert op.count("/jwks") == 2


@pytest.mark.slow
def test_a_renewed_set_replaces_the_old_one(op: FakeOIDC, clock: FakeClock) -> None:
    """A key that is published no longer is believed no longer."""
    provider, old = op.provider(), op.keys[0]
    assert log_in(op, provider) is None
    op.rotate()
    clock.advance(HOUR + 1)
    assert log_in(op, provider) is None  # asks for the new key's id, beside the renewal or by it
    await_renewals()
    with pytest.raises(ClefError) as caught:
        provider.read_logout({"logout_token": op.logout_token(sub="ann", key=old)})
    assert caught.value.reason in ("token_signature", "provider_keys")


def test_renewal_that_fails(op: FakeOIDC, clock: FakeClock) -> None:
    """Old metadata and keys serve while the provider is down; keys not confirmed for a day do not."""
    provider = op.provider()
    assert log_in(op, provider) is None
    op.says["/jwks"] = (503, {}, b"")
    clock.advance(DAY - 1)
    assert log_in(op, provider) is None
    await_renewals()
    clock.advance(601)
    assert log_in(op, provider) == "provider_unavailable"
    with pytest.raises(ProviderUnavailable):
        provider.read_logout({"logout_token": op.logout_token(sub="ann")})
    op.says.clear()
    clock.advance(601)
    assert log_in(op, provider) is None


def test_metadata_of_another_issuer_is_a_failed_renewal(op: FakeOIDC, clock: FakeClock) -> None:
    """A provider taken over by another is not followed."""
    provider = op.provider()
    assert begin(provider) is None
    op.metadata = {"issuer": "https://evil.example", "authorization_endpoint": "https://evil.example/authorize"}
    clock.advance(HOUR + 1)
    assert begin(provider) is None
    await_renewals()
    assert "evil" not in provider.start_login("s", CALLBACK).url


def test_first_logins_share_one_fetch(op: FakeOIDC) -> None:
    """Ten first logins at once wait for the same metadata."""
    op.says[DISCOVERY] = slowly(0.2, say(op._metadata()))
    provider = op.provider()
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda _: begin(provider), range(10))) == [None] * 10
    assert op.count(DISCOVERY) == 1


@pytest.mark.slow
def test_a_silent_provider_holds_one_thread(op: FakeOIDC, clock: FakeClock) -> None:
    """While one request waits for a provider that failed before, others fail at once; none waits beyond its time."""
    op.says[DISCOVERY] = (503, {}, b"")
    provider = op.provider(timeout_seconds=0.5)
    assert begin(provider) == "provider_unavailable"
    clock.advance(31)
    op.says[DISCOVERY] = slowly(2, say({}))
    began = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        reasons = list(pool.map(lambda _: begin(provider), range(6)))
    assert sorted(reasons, key=str).count("provider_timeout") == 1
    assert time.monotonic() - began < 1.9


# -- keys -----------------------------------------------------------------------------------------------------


def bad_keys() -> list[Any]:
    good = make_key("RSA2048").as_dict(private=False)
    return [
        {"kty": "unknown", "kid": "k1"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "k1"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "k1"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "k1"},
        {"kty": "oct", "k": "AAAA", "kid": "k1"},
        {"kty": "RSA", "n": good["e"], "e": good["e"], "kid": "k1"},
        {**good, "use": "enc", "kid": "k1"},
        {**good, "key_ops": ["encrypt"], "kid": "k1"},
        {**RSAKey.generate_key(1024).as_dict(private=False), "kid": "k1"},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "kid": "k1"},
        {"kty": ["RSA"], "kid": "k1"},
        {"kid": "k1"},
        "a string",
        None,
        5,
        [],
    ]


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_useless_keys_beside_the_good_one(op: FakeOIDC) -> None:
    """Keys that can't be used are passed over, each by itself: joserfc raises KeyError or ValueError for some."""
    useless = bad_keys()
    for some in (useless[:5], useless[5:10], useless[10:], useless):
        op.published = [*some, op.keys[0].jwk]
        assert log_in(op, op.provider()) is None


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_no_usable_key(op: FakeOIDC) -> None:
    """A set without one is a failed fetch, and so is what is no set."""
    documents = [{"keys": bad_keys()}, {"keys": []}, {}, {"keys": None}, {"keys": {"kid": "k1"}}]
    for document in documents:
        op.says["/jwks"] = say(document)
        assert log_in(op, op.provider()) == "provider_keys"


@each(
    ("answer", "reason"),
    [
        ((503, {}, b""), "provider_unavailable"),
        ((200, {}, b'{"keys": [' + b" " * 70_000 + b"]}"), "provider_answer"),
        ((200, {}, b"<html>"), "provider_answer"),
        ((404, {}, b"{}"), "provider_keys"),
    ],
)
def test_keys_that_can_not_be_had(answer: Any, reason: str, op: FakeOIDC) -> None:
    """The JWK set unreachable, huge or HTML: 503, and nobody signed in."""
    op.says["/jwks"] = answer
    assert log_in(op, op.provider()) == reason


def test_oidcc_client_test_signing_key_rotation(op: FakeOIDC, clock: FakeClock) -> None:
    """oidcc-client-test-signing-key-rotation: twice within ten seconds."""
    provider = op.provider()
    assert log_in(op, provider) is None
    for _ in range(2):
        clock.advance(3)
        op.rotate()
        assert log_in(op, provider) is None
    assert op.count("/jwks") == 3


def test_oidcc_client_test_signing_key_rotation_just_before_signing(op: FakeOIDC, clock: FakeClock) -> None:
    """oidcc-client-test-signing-key-rotation-just-before-signing: between the redirect and the token."""
    provider = op.provider()
    assert log_in(op, provider) is None
    clock.advance(3)
    start = provider.start_login("state", CALLBACK)
    query = op.approve(start.url)
    op.rotate()
    assert provider.finish_login(query, start.provider_state, CALLBACK).user["id"] == f"{op.issuer}#ann"


@pytest.mark.slow
def test_a_second_rotation_within_a_second(op: FakeOIDC, clock: FakeClock) -> None:
    """The keys are asked for at most once a second in a process: what comes earlier waits, and is not refused."""
    provider = op.provider()
    assert log_in(op, provider) is None
    op.rotate()
    began = time.monotonic()
    assert log_in(op, provider) is None
    assert time.monotonic() - began >= 1
    assert op.count("/jwks") == 2


def test_logins_that_demand_keys_together_share_one_fetch(op: FakeOIDC, clock: FakeClock) -> None:
    """Concurrent logins with an unknown kid wait for the same fetch."""
    provider = op.provider()
    assert log_in(op, provider) is None
    clock.advance(3)
    op.rotate()
    op.says["/jwks"] = slowly(0.3, say({"keys": [key.jwk for key in op.keys]}))
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: log_in(op, provider), range(6))) == [None] * 6
    assert op.count("/jwks") == 2


def test_a_key_for_another_algorithm(op: FakeOIDC) -> None:
    """mod_auth_openidc's test_jwt_verify_kty_mismatch: type, curve and alg of the key must fit the token's."""
    op.header = {"kid": "k1"}
    for jwk in (Key("k1", "RS256").jwk, Key("k1", "ES384").jwk, {**op.keys[0].jwk, "alg": "RS256"}):
        op.published = [jwk]
        assert log_in(op, op.provider()) == "token_signature"


# -- client authentication ------------------------------------------------------------------------------------


def token_requests(op: FakeOIDC) -> list[str]:
    """Return the client authentication of each token request."""

    def shown(seen: Seen) -> str:
        if seen.authorization is not None:
            return f"basic {seen.basic[1]}"
        kind = "post" if "client_secret" in seen.form else "jwt" if "client_assertion" in seen.form else "none"
        return f"{kind} {seen.form.get('client_secret', '')}".strip()

    return [shown(seen) for seen in op.requests if seen.path == "/token"]


@each(
    ("advertised", "expected"),
    [
        (["client_secret_basic"], "basic"),
        (["client_secret_post"], "post"),
        (["client_secret_basic", "client_secret_post"], "basic"),
        (["private_key_jwt"], "basic"),
        (GONE, "basic"),
    ],
)
def test_what_is_advertised(advertised: Any, expected: str, op: FakeOIDC) -> None:
    """``auto``: the one of basic and post that the provider advertises; basic where both or neither."""
    op.metadata = {"token_endpoint_auth_methods_supported": advertised}
    provider = op.provider()
    assert log_in(op, provider) is None
    assert token_requests(op)[-1].startswith(expected)
    op.requests.clear()


@each(
    ("accepts", "decodes", "expected"),
    [
        (["client_secret_basic"], True, ["basic the+s3cret%3A+of%2Bthe%25client"]),
        (["client_secret_post"], True, ["basic the+s3cret%3A+of%2Bthe%25client", f"post {CLIENT_SECRET}"]),
        (
            ["client_secret_basic"],
            False,
            ["basic the+s3cret%3A+of%2Bthe%25client", f"post {CLIENT_SECRET}", f"basic {CLIENT_SECRET}"],
        ),
    ],
)
@pytest.mark.parametrize(
    "refusal", [(401, "invalid_client"), (401, "unauthorized_client"), (403, "unauthorized_client")]
)
def test_fall_backs(accepts: Any, decodes: bool, expected: Any, refusal: Any, op: FakeOIDC) -> None:
    """Refused, the other method is tried for the same code, then basic without encoding; what worked is remembered."""
    op.secrets, op.decodes_basic, op.error_of_client = (CLIENT_SECRET,), decodes, refusal
    op.auth_methods, op.metadata = tuple(accepts), {"token_endpoint_auth_methods_supported": GONE}
    provider = op.provider(client_secret=CLIENT_SECRET)
    op.requests.clear()
    assert log_in(op, provider) is None
    assert token_requests(op) == expected
    assert log_in(op, provider) is None
    assert token_requests(op)[len(expected) :] == expected[-1:]


def test_a_refusal_without_json(op: FakeOIDC) -> None:
    """A 401 with a page is a refusal of the client, too."""
    op.says["/token"] = (401, {"WWW-Authenticate": "Basic"}, b"<html>")
    assert log_in(op, op.provider()) == "provider_refused_app"
    assert op.token_requests == 2


def test_at_most_three_requests(op: FakeOIDC) -> None:
    """With many secrets no more than three are tried for one code; the next login goes on with the others."""
    op.secrets = ("d",)
    provider = op.provider(client_secret=["a", "b", "c", "d"], client_auth="client_secret_basic")
    assert log_in(op, provider) == "provider_refused_app"
    assert token_requests(op) == ["basic a", "basic b", "basic c"]
    assert log_in(op, provider) is None
    assert token_requests(op)[3:] == ["basic d"]
    assert log_in(op, provider) is None
    assert token_requests(op)[4:] == ["basic d"]


def test_a_secret_that_is_being_changed(op: FakeOIDC) -> None:
    """Newest first; the old one serves until the provider knows the new one, and no longer."""
    provider = op.provider(client_secret=["new", "old"], client_auth="client_secret_post")
    for op.secrets, asked in ((("old",), ["new", "old"]), (("old",), ["old"]), (("new",), ["old", "new"])):
        op.requests.clear()
        assert log_in(op, provider) is None
        assert token_requests(op) == [f"post {secret}" for secret in asked]


def test_a_fixed_method_is_the_only_one(op: FakeOIDC) -> None:
    """An option that names a method is obeyed; of basic, both spellings."""
    op.auth_methods = ("client_secret_post",)
    op.secrets = (CLIENT_SECRET,)
    provider = op.provider(client_secret=CLIENT_SECRET, client_auth="client_secret_basic")
    assert log_in(op, provider) == "provider_refused_app"
    assert [each.split()[0] for each in token_requests(op)] == ["basic", "basic"]


def test_a_public_client(op: FakeOIDC) -> None:
    """Without a secret the client sends its id alone, and PKCE is what binds the code."""
    op.auth_methods = ("none",)
    assert log_in(op, op.provider(client_secret=GONE)) is None
    assert token_requests(op) == ["none"]


def pem(folder: Path, kind: str, mode: int = 0o600) -> str:
    path = folder / f"{kind}.pem"
    path.write_bytes(make_key(kind).as_pem(private=True))
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "supported", "algorithm"),
    [
        ("RSA2048", GONE, "RS256"),
        ("RSA2048", ["PS256"], "PS256"),
        ("P-256", GONE, "ES256"),
        ("P-384", GONE, "ES384"),
        ("Ed25519", ["Ed25519"], "Ed25519"),
    ],
)
def test_private_key_jwt(kind: str, supported: Any, algorithm: str, op: FakeOIDC, tmp_path: Path) -> None:
    """aud is the issuer, one text; iss and sub the client; jti new, 60 s, kid the thumbprint; the same for PAR."""
    op.metadata = {"token_endpoint_auth_signing_alg_values_supported": supported}
    provider = op.provider(client_secret=GONE, client_key_file=pem(tmp_path, kind), pushed="always")
    for _ in range(2):
        assert log_in(op, provider) is None
    tokens = [decode(seen.form["client_assertion"], make_key(kind), algorithms=[algorithm]) for seen in op.requests
              if seen.path in ("/token", "/par")]  # fmt: skip
    assert len({token.claims.pop("jti") for token in tokens}) == 4
    now = int(op.clock())
    for token in tokens:
        assert token.claims == {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": op.issuer, "iat": now, "exp": now + 60}
        assert token.header["kid"] == make_key(kind).thumbprint()
    forms = [seen.form for seen in op.requests if seen.path == "/token"]
    assert forms[0]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in forms[0]


# -- check ----------------------------------------------------------------------------------------------------


def findings(op: FakeOIDC, **options: Any) -> list[tuple[str, str, str]]:
    found = list(op.provider(**options).check_peer(CALLBACK))
    assert all(severity in ("ok", "warning", "error") for severity, _, _ in found)
    assert all(remedy for severity, _, remedy in found if severity != "ok")
    return found


def test_check_of_a_good_deployment(op: FakeOIDC) -> None:
    """All is well: the redirect address is printed, and the setting to write is named."""
    op.metadata = {"authorization_response_iss_parameter_supported": True}
    found = findings(op)
    assert {severity for severity, _, _ in found} == {"ok"}
    text = "\n".join(sentence for _, sentence, _ in found)
    assert CALLBACK in text
    assert "client_auth='client_secret_basic'" in text
    assert PLAIN_SECRET not in text


@each(
    ("metadata", "options", "severity", "words"),
    [
        ({"id_token_signing_alg_values_supported": ["HS256"]}, {}, "error", "none of the algorithms"),
        ({"id_token_signing_alg_values_supported": GONE}, {}, "error", "none of the algorithms"),
        ({}, {"algorithms": ["RS256"]}, "error", "None of the provider's keys"),
        ({"code_challenge_methods_supported": ["plain"]}, {}, "warning", "PKCE"),
    ],
)
def test_check_finds(metadata: Any, options: Any, severity: str, words: str, op: FakeOIDC) -> None:
    """Algorithms, keys, PKCE: each has its finding."""
    op.metadata = metadata
    assert [found for found in findings(op, **options) if found[0] == severity and words in found[1]]


def test_what_is_said_of_logout(op: FakeOIDC) -> None:
    """``check`` warns of long logins where the provider does not say that it reports logouts."""
    assert op.provider().advertises_logout()
    for value in (False, GONE, "true", 1):
        op.metadata = {"backchannel_logout_supported": value}
        assert not op.provider().advertises_logout()


def test_check_of_the_clock(op: FakeOIDC, clock: FakeClock) -> None:
    """The provider's Date is compared with this machine's clock."""
    provider = OIDCProvider(
        issuer=op.issuer, client_id=CLIENT_ID, client_secret=PLAIN_SECRET, clock=lambda: clock.now + 90
    )
    assert any(
        "-90 seconds" in sentence for severity, sentence, _ in provider.check_peer(CALLBACK) if severity == "error"
    )


def test_check_of_a_client_that_is_not_known(op: FakeOIDC) -> None:
    """A wrong secret has a reason of its own, without words of another provider."""
    with pytest.raises(ProviderUnavailable) as caught:
        findings(op, client_secret="wrong")
    assert caught.value.reason == "provider_refused_app"
    assert "app_secret" not in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_check_of_a_provider_that_takes_anything(op: FakeOIDC) -> None:
    """Tokens for a code that nobody gave are trouble; another error is a warning."""
    op.says["/token"] = say({"access_token": "x"})
    with pytest.raises(ProviderUnavailable) as caught:
        findings(op)
    assert caught.value.reason == "provider_answer"
    op.says["/token"] = say({"error": "invalid_request"}, 400)
    assert any("another reason" in sentence for severity, sentence, _ in findings(op) if severity == "warning")


def test_check_prints_the_public_key(op: FakeOIDC, tmp_path: Path) -> None:
    """The JWK to register is printed, without its private part; a file that others can read is named."""
    found = findings(op, client_secret=GONE, client_key_file=pem(tmp_path, "P-256", 0o644))
    sentence = next(sentence for _, sentence, _ in found if '"kty": "EC"' in sentence)
    private = str(make_key("P-256").as_dict(private=True)["d"])
    assert private not in sentence
    assert make_key("P-256").thumbprint() in sentence
    assert any("client_key_file" in sentence for severity, sentence, _ in found if severity == "warning")
    own = findings(op, client_secret=GONE, client_key_file=pem(tmp_path, "P-256", 0o600))
    assert not any("client_key_file" in sentence for severity, sentence, _ in own if severity == "warning")


@pytest.mark.process
def test_a_forked_process_renews(op: FakeOIDC, clock: FakeClock) -> None:
    """A process that was forked while a fetch was under way fetches for itself."""
    provider = op.provider(timeout_seconds=30)
    may_go_on = threading.Event()
    op.says[DISCOVERY] = lambda: (may_go_on.wait(10) if op.count(DISCOVERY) == 1 else None, say(op._metadata()))[1]
    waiting = threading.Thread(target=begin, args=(provider,))
    waiting.start()
    while op.count(DISCOVERY) == 0:
        threading.Event().wait(0.01)
    renewed = result_in_child(lambda: begin(provider) is None)
    may_go_on.set()
    waiting.join()
    assert renewed
    assert begin(provider) is None
