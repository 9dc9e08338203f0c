"""OIDCProvider against two real OpenID providers: logins, logouts, keys, client authentication, browsers, workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey
from support.databases import PrivateRedis
from support.glewlwyd import Glewlwyd
from support.oidc_provider import OidcProvider
from support.oidc_site import IN_TIME_SECONDS, Site, example, site, workers
from support.openid import ANN, BO, Browser, OpenIDProvider, form_of, leads_to, query_of
from support.services import chromium, click, once_seen, require, waiting, waiting_until

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def oidc_provider() -> Iterator[OidcProvider]:
    with OidcProvider() as started:
        yield started


@pytest.fixture(scope="module")
def glewlwyd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glewlwyd]:
    with Glewlwyd(tmp_path_factory.mktemp("glewlwyd")) as started:
        yield started


@pytest.fixture(params=["oidc_provider", "glewlwyd"])
def provider(request: pytest.FixtureRequest) -> OpenIDProvider:
    started: OpenIDProvider = request.getfixturevalue(request.param)
    return started


@pytest.fixture
def sites(provider: OpenIDProvider) -> Iterator[tuple[Site, Site]]:
    with site(provider) as first, site(provider) as second:
        yield first, second


@pytest.fixture
def ann() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def test_login(sites: tuple[Site, Site], ann: Browser) -> None:
    """From a page for members to the provider and back to that page; ``clef.user`` is named by issuer and sub."""
    page = sites[0].log_in(ann, path="/account?tab=2")
    assert page.status_code == 200
    assert page.url == f"{sites[0].url}/account?tab=2"
    user = sites[0].user(ann)
    assert user is not None
    issuer, _, subject = user["id"].partition("#")
    assert issuer == sites[0].provider.issuer
    assert subject
    assert user["name"] == "Ann Archer"


def test_an_unverified_address_is_not_told(provider: OpenIDProvider) -> None:
    """``email`` is in ``clef.user`` where the provider vouches for it: Ann's at one, Bo's at none."""
    with site(provider) as one, Browser() as ann, Browser() as bo:
        one.log_in(ann)
        one.log_in(bo, BO)
        seen = [(one.user(browser) or {}).get("email") for browser in (ann, bo)]
    vouched = isinstance(provider, OidcProvider)  # glewlwyd sends no email_verified
    assert seen == ["ann@example.org" if vouched else None, None]


def test_logout_at_the_provider_ends_both_sites(sites: tuple[Site, Site], ann: Browser) -> None:
    """Both sites let go of the browser that logged out, and of no other: its session alone ended."""
    with Browser() as other:
        for one in sites:
            one.log_in(ann)
            one.log_in(other)
        sites[0].provider.log_out(ann)
        for one in sites:
            one.await_logout(ann)
            assert one.user(other) is not None


def test_a_login_after_the_logout_lives(sites: tuple[Site, Site], ann: Browser) -> None:
    """The provider's notification ends what was before it, and nothing that comes after."""
    sites[0].log_in(ann)
    sites[0].provider.log_out(ann)
    sites[0].await_logout(ann)
    sites[0].log_in(ann)
    assert sites[0].user(ann) is not None


def test_logout_everywhere(sites: tuple[Site, Site], ann: Browser) -> None:
    """An administrator ends all of Ann's sessions: she is out in every browser, and Bo is not."""
    with Browser() as other, Browser() as bo:
        sites[0].log_in(ann)
        sites[0].log_in(other)
        sites[0].log_in(bo, BO)
        sites[0].provider.log_out_everywhere(ANN)
        sites[0].await_logout(ann)
        sites[0].await_logout(other)
        assert sites[0].user(bo) is not None


def test_keys_rotated_twice_within_ten_seconds(sites: tuple[Site, Site], ann: Browser) -> None:
    """A login and a logout with keys that the site has not seen yet work at once, and again after the next rotation."""
    began = time.monotonic()
    sites[0].log_in(ann)
    for _ in range(2):
        sites[0].provider.rotate_keys()
        with Browser() as other:
            sites[0].log_in(other)
            assert sites[0].user(other) is not None
            sites[0].provider.log_out(other)
            sites[0].await_logout(other)
    assert time.monotonic() - began < 10


def test_a_logout_with_new_keys_comes_first(sites: tuple[Site, Site], ann: Browser) -> None:
    """The first token that carries a new key may be a logout token."""
    sites[0].log_in(ann)
    sites[0].provider.rotate_keys()
    sites[0].provider.log_out(ann)
    sites[0].await_logout(ann)


def test_logging_out_here_leads_to_the_provider_and_back(sites: tuple[Site, Site], ann: Browser) -> None:
    """RP-initiated logout: the login here ends first, then the other site's, and the browser comes back to ``next``."""
    for one in sites:
        one.log_in(ann)
    ended = sites[0].sign_out(ann)
    end_url = leads_to(ended)
    assert ended.status_code == 200
    assert end_url is not None
    assert end_url.startswith(sites[0].provider.issuer)
    assert sites[0].user(ann) is None
    back = sites[0].provider.end_session(ann, end_url)
    assert back.startswith(f"{sites[0].url}/clef/logout?")
    assert ann.get(back, within=sites[0].url).url == f"{sites[0].url}/bye"
    sites[1].await_logout(ann)


def test_staying_logged_in_at_the_provider(sites: tuple[Site, Site], ann: Browser) -> None:
    """A logout at one site without the provider's leaves the other's login, and needs no new credentials here."""
    for one in sites:
        one.log_in(ann)
    sites[0].sign_out(ann)
    assert sites[1].user(ann) is not None
    sites[0].log_in(ann)
    assert sites[0].user(ann) is not None


def test_step_up(oidc_provider: OidcProvider, ann: Browser) -> None:
    """A page may ask for a fresh proof: the provider's own session is not enough then, and the new login says when."""
    with site(oidc_provider) as one:
        one.log_in(ann)
        before = (one.user(ann) or {})["authenticated_at"]
        again = leads_to(ann.get(f"{one.url}/clef/login?next=/account&prompt=login", within=one.url))
        assert again is not None
        assert "prompt=login" in again
        asked = ann.get(again, within=oidc_provider.issuer)
        assert (asked.status_code, form_of(asked)[1]) == (200, {"login": ""})
        back = oidc_provider.approve(ann, again, ANN)
        assert ann.get(back, within=one.url).url == f"{one.url}/account"
        assert (one.user(ann) or {})["authenticated_at"] >= int(before)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519", "EdDSA"])
def test_each_algorithm(oidc_provider: OidcProvider, ann: Browser, algorithm: str) -> None:
    """ID tokens and logout tokens of each algorithm are taken."""
    oidc_provider.failures()  # those of other tests, whose sites are gone
    with site(oidc_provider, algorithm=algorithm) as one:
        one.log_in(ann)
        assert one.user(ann) is not None
        oidc_provider.log_out(ann)
        one.await_logout(ann)
    assert oidc_provider.failures() == []


def test_glewlwyd_signs_with_es256(glewlwyd: Glewlwyd, ann: Browser) -> None:
    """The other provider's elliptic signatures are taken, too."""
    with site(glewlwyd, algorithm="ES256") as one:
        one.log_in(ann)
        glewlwyd.log_out(ann)
        one.await_logout(ann)


def test_a_login_that_is_cancelled(oidc_provider: OidcProvider, ann: Browser) -> None:
    """A person who cancels at the provider gets a page with the error and no login; the next try works."""
    with site(oidc_provider) as one:
        address, _ = form_of(ann.get(one.start_login(ann), within=oidc_provider.issuer))
        back = leads_to(ann.post(address, {"login": ""}, within=oidc_provider.issuer))
        assert back is not None
        assert query_of(back)["error"] == "access_denied"
        page = ann.get(back, within=one.url)
        assert page.status_code == 400
        assert "The login was cancelled." in page.text
        assert one.user(ann) is None
        one.log_in(ann)
        assert one.user(ann) is not None


def test_a_pushed_request(ann: Browser) -> None:
    """A request is pushed when the provider demands it, and the browser carries only a reference (RFC 9126)."""
    with OidcProvider() as provider:
        provider.require_pushed_requests()
        with site(provider) as one:
            carried = query_of(one.start_login(ann))
            assert set(carried) == {"client_id", "request_uri"}
            one.log_in(ann)
            assert one.user(ann) is not None


def test_private_key_jwt(oidc_provider: OidcProvider, ann: Browser, tmp_path: Path) -> None:
    """The site proves itself with a key of its own, and has no secret at all."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "client.pem"
    path.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    known = ECKey.import_key(private_key.public_key())
    public_key: Any = {**known.as_dict(private=False), "kid": known.thumbprint(), "use": "sig"}
    with site(oidc_provider, secret=None, public_key=public_key, client_key_file=str(path)) as one:
        one.log_in(ann)
        assert one.user(ann) is not None


def test_a_secret_that_glewlwyd_does_not_decode(glewlwyd: Glewlwyd, ann: Browser) -> None:
    """Authentication is tried in another form where a secret has letters on which the forms differ."""
    with site(glewlwyd, secret="a+b/c d%e:f~g of thirty-two letters") as one:
        for _ in range(2):  # the second time it is known what works
            with Browser() as other:
                one.log_in(other)
                assert one.user(other) is not None


def test_four_workers_share_redis(provider: OpenIDProvider, ann: Browser, tmp_path: Path) -> None:
    """Forked after the app was made: whichever worker takes the notification, all refuse the login."""
    require("gunicorn", find_spec("gunicorn") is not None, 'pip install ".[dev]"')
    with PrivateRedis() as redis, workers(provider, tmp_path, redis.url, count=4) as one:

        def seen() -> dict[int, bool]:
            found: dict[int, bool] = {}

            def all_seen() -> bool:
                answer = one.whoami(ann)
                found[answer["pid"]] = answer["user"] is not None
                return len(found) == 4

            waiting_until(all_seen, lambda: f"only {len(found)} of 4 workers answered", 30)
            return found

        for _ in range(2):
            one.log_in(ann)
            assert set(seen().values()) == {True}
            provider.log_out(ann)
            one.await_logout(ann)
            assert set(seen().values()) == {False}


@pytest.mark.parametrize("name", ["bottle_app", "django_app", "flask_app", "plain_wsgi", "pyramid_app"])
def test_each_example_by_settings_alone(oidc_provider: OidcProvider, ann: Browser, tmp_path: Path, name: str) -> None:
    """No line of an example says which provider it has: the environment does."""
    with example(oidc_provider, name, tmp_path) as one:
        assert one.log_in(ann).url == f"{one.url}/account"
        assert "Hello, Ann." in ann.get(f"{one.url}/").text
        oidc_provider.log_out(ann)
        waiting_until(lambda: not one.is_in(ann), lambda: f"{name} has not heard", IN_TIME_SECONDS)
        assert "Ann" not in ann.get(f"{one.url}/").text


@pytest.mark.browser
def test_in_chromium(oidc_provider: OidcProvider) -> None:
    """Log in, log out here and at the provider, and come back: on pages whose policy is ``form-action 'self'``."""
    with site(oidc_provider) as one, chromium() as browser:
        browser.get(f"{one.url}/")
        click(browser, "a.clef-login")
        once_seen(browser, "input[name=login]").send_keys(ANN)
        click(browser, "button")
        assert browser.current_url == f"{one.url}/account"
        assert once_seen(browser, "h1").text == "Hello, Ann."
        click(browser, "form button")  # a page that leads on by itself
        waiting(browser).until(lambda _: browser.current_url.startswith(oidc_provider.issuer))
        click(browser, "form button")
        assert browser.current_url == f"{one.url}/bye"
        assert once_seen(browser, "h1").text == "Hello, visitor."
        browser.get(f"{one.url}/account")
        assert once_seen(browser, "input[name=login]")  # the provider's own session has ended, too
        complaints = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry for entry in complaints if "Content Security Policy" in entry["message"]] == []
