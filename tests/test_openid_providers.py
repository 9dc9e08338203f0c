"""Two real OpenID providers by themselves: discovery, a login by script, tokens, keys, logout notifications.

Nothing of the package takes part, so what fails here is the provider or its harness.
"""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import requests
from joserfc import jws
from joserfc.jwk import KeySet
from support.glewlwyd import Glewlwyd
from support.oidc_provider import OidcProvider
from support.openid import ANN, BO, PEOPLE, Browser, Client, OpenIDProvider, query_of
from support.services import served

pytestmark = pytest.mark.services

EVENT = "http://schemas.openid.net/event/backchannel-logout"
PATIENCE_SECONDS = 10.0
SECRET = "a-secret-of-thirty-two-characters"


class Webhooks:
    """A site's webhook that keeps the logout tokens which arrive."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tokens: queue.Queue[str] = queue.Queue()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        start_response("200 OK", [("Cache-Control", "no-store"), ("Content-Length", "0")])
        self.tokens.put(form["logout_token"][0])
        return []


@contextmanager
def listening() -> Iterator[Webhooks]:
    made: list[Webhooks] = []

    def make(url: str) -> Webhooks:
        made.append(Webhooks(url))
        return made[0]

    with served(make):
        yield made[0]


@pytest.fixture(scope="module", params=["oidc-provider", "glewlwyd"])
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIDProvider]:
    started: Any = OidcProvider() if request.param == "oidc-provider" else Glewlwyd(tmp_path_factory.mktemp("glewlwyd"))
    with started:
        yield started


@pytest.fixture
def sites(provider: OpenIDProvider) -> Iterator[tuple[Webhooks, Webhooks]]:
    """Two sites' webhooks, each registered with the provider under its own address."""
    with listening() as first, listening() as second:
        for site in (first, second):
            provider.add(Client(site.url, client_id=site.url[-5:], client_secret=SECRET))
        yield first, second


def metadata_of(provider: OpenIDProvider) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{provider.issuer}/.well-known/openid-configuration", timeout=5).json()
    return found


def verify(provider: OpenIDProvider, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a token that one of the published keys signed."""
    keys = requests.get(metadata_of(provider)["jwks_uri"], timeout=5).json()
    algorithms = ["RS256", "ES256", "Ed25519", "EdDSA"]
    proven = jws.deserialize_compact(token, KeySet.import_key_set(keys), algorithms=algorithms)
    return proven.headers(), json.loads(proven.payload)


def log_in(provider: OpenIDProvider, browser: Browser, site: str, person: str = ANN) -> dict[str, Any]:
    """The answer of the token endpoint to a code flow with S256 and nonce, as a site would run it."""
    client_id, verifier = site[-5:], secrets.token_urlsafe(40)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "client_id": client_id,
        "redirect_uri": f"{site}/clef/callback",
        "response_type": "code",
        "scope": "openid profile email",
        "state": "st",
        "nonce": "no",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    metadata = metadata_of(provider)
    back = provider.approve(browser, f"{metadata['authorization_endpoint']}?{urlencode(asked)}", person)
    assert back.startswith(f"{site}/clef/callback?")
    answered = query_of(back)
    assert (answered["state"], answered["iss"]) == ("st", provider.issuer)
    form = {
        "grant_type": "authorization_code",
        "code": answered["code"],
        "redirect_uri": asked["redirect_uri"],
        "code_verifier": verifier,
    }
    answer = requests.post(metadata["token_endpoint"], data=form, auth=(client_id, SECRET), timeout=5)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def test_discovery_answers_for_the_issuer(provider: OpenIDProvider) -> None:
    """The metadata is the issuer's own, byte for byte, and has what a login and a logout need."""
    metadata = metadata_of(provider)
    assert metadata["issuer"] == provider.issuer
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint")
    assert [name for name in needed if not metadata[name].startswith(provider.issuer)] == []


def test_a_login_by_script_gives_an_id_token(provider: OpenIDProvider, sites: tuple[Webhooks, Webhooks]) -> None:
    """The ID token names issuer, client, person, session and nonce; userinfo has the person's name."""
    with Browser() as browser:
        tokens = log_in(provider, browser, sites[0].url)
    _, claims = verify(provider, tokens["id_token"])
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (provider.issuer, sites[0].url[-5:], "no")
    assert claims["sid"]
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    userinfo = requests.get(metadata_of(provider)["userinfo_endpoint"], headers=headers, timeout=5).json()
    assert (userinfo["sub"], userinfo["name"]) == (claims["sub"], PEOPLE[ANN]["name"])


def test_logout_at_the_provider_notifies_both_sites(provider: OpenIDProvider, sites: tuple[Webhooks, Webhooks]) -> None:
    """One session, two sites: each gets a token of its own, for the session and the person of its ID token."""
    with Browser() as browser:
        claims = [verify(provider, log_in(provider, browser, site.url)["id_token"])[1] for site in sites]
        provider.log_out(browser)
    for site, known in zip(sites, claims, strict=True):
        header, told = verify(provider, site.tokens.get(timeout=PATIENCE_SECONDS))
        assert told["events"] == {EVENT: {}}
        assert "nonce" not in told
        assert [told[name] for name in ("iss", "aud", "sub", "sid")] == [
            known[name] for name in ("iss", "aud", "sub", "sid")
        ]
        assert header["typ"] in ("logout+jwt", "JWT")


def test_logout_everywhere_notifies_of_every_session(
    provider: OpenIDProvider, sites: tuple[Webhooks, Webhooks]
) -> None:
    """Two browsers of one person, and one of another's: two notifications, none for the other person."""
    with Browser() as first, Browser() as second, Browser() as others:
        known = [verify(provider, log_in(provider, one, sites[0].url)["id_token"])[1] for one in (first, second)]
        other = verify(provider, log_in(provider, others, sites[0].url, BO)["id_token"])[1]
        provider.log_out_everywhere(ANN)
        told = [verify(provider, sites[0].tokens.get(timeout=PATIENCE_SECONDS))[1]["sid"] for _ in known]
    assert sorted(told) == sorted(claims["sid"] for claims in known)
    assert other["sid"] not in told
    assert sites[0].tokens.empty()


def test_rp_initiated_logout_leads_back(provider: OpenIDProvider, sites: tuple[Webhooks, Webhooks]) -> None:
    """The browser comes back to the registered address with its state, and the other site is notified."""
    with Browser() as browser:
        tokens = [log_in(provider, browser, site.url) for site in sites]
        asked = {
            "id_token_hint": tokens[0]["id_token"],
            "post_logout_redirect_uri": f"{sites[0].url}/clef/logout",
            "state": "o.Lw",
        }
        back = provider.end_session(browser, f"{metadata_of(provider)['end_session_endpoint']}?{urlencode(asked)}")
    assert back == f"{sites[0].url}/clef/logout?state=o.Lw"
    assert verify(provider, sites[1].tokens.get(timeout=PATIENCE_SECONDS))


def test_rotated_keys_sign_from_then_on(provider: OpenIDProvider, sites: tuple[Webhooks, Webhooks]) -> None:
    """After a rotation no old key is published, and a session that was there before gets tokens of the new one."""
    with Browser() as browser:
        before = verify(provider, log_in(provider, browser, sites[0].url)["id_token"])[0]["kid"]
        provider.rotate_keys()
        after = verify(provider, log_in(provider, browser, sites[0].url)["id_token"])[0]["kid"]
    published = {key["kid"] for key in requests.get(metadata_of(provider)["jwks_uri"], timeout=5).json()["keys"]}
    assert after in published
    assert before not in published


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864; providers will send it for years
@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "EdDSA"])
def test_oidc_provider_signs_with_each_algorithm(algorithm: str) -> None:
    """npm's oidc-provider signs a client's tokens as the client asked for."""
    with listening() as site, OidcProvider() as provider, Browser() as browser:
        provider.add(Client(site.url, site.url[-5:], SECRET, algorithm))
        header, _ = verify(provider, log_in(provider, browser, site.url)["id_token"])
        provider.log_out(browser)
        told, _ = verify(provider, site.tokens.get(timeout=PATIENCE_SECONDS))
    assert (header["alg"], told["alg"]) == (algorithm, algorithm)
