"""The options of OIDCProvider: each that can't work is refused at construction, with what to write instead."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey, RSAKey
from support.app import SECRET
from support.cases import each
from support.fake_oidc import FakeOIDC, make_key

import clef_wsgi
from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.providers.oidc import OIDCProvider, options, tokens

ISSUER = "https://login.example.com/realms/main"
CALLBACK = "https://www.example.com/clef/callback"


def make(**given: Any) -> OIDCProvider:
    return OIDCProvider(**{"issuer": ISSUER, "client_id": "site", **given})


def faults(**given: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        make(**given)
    return caught.value.faults


def test_the_smallest() -> None:
    """Issuer and client id are enough, and nobody is asked: the address is nobody's."""
    provider = make()
    assert provider.issuer == ISSUER
    assert provider.default_login_age == timedelta(hours=12)
    assert provider.bounds_exchanges
    assert isinstance(provider, clef_wsgi.IdentityProvider)
    assert clef_wsgi.OIDCProvider is OIDCProvider


def test_all_faults_at_once() -> None:
    """One error names every option that can't work, and none of their values."""
    found = faults(
        issuer="http://user:pass-word@login.example.com/?a=b#c",
        client_id="",
        client_secret=["s3cret-é"],
        client_key_file="/nowhere.pem",
        scopes="openid",
        algorithms=[],
        client_auth="basic",
        claims="a",
        require_claims="x",
        login_params=["=y"],
        logout_at_provider="no",
        logout_scope="all",
        leeway=-1,
        pushed=True,
        timeout_seconds=0,
        ca_file="/nowhere.pem",
        proxy_url="proxy",
        allow_http_hosts="login.example.com",
    )
    names = [fault.split()[0] for fault in found]
    taken = set(inspect.signature(OIDCProvider).parameters) - {"clock"}
    assert set(names) == taken
    assert "pass-word" not in " ".join(found)
    assert "s3cret" not in " ".join(found)


@each(
    ("issuer", "words"),
    [
        ("login.example.com", "absolute URL"),
        (None, "absolute URL"),
        ("http://login.example.com", "https://"),
        ("https://login.example.com/?x=1", "query"),
        ("https://login.example.com/#x", "fragment"),
        ("https://a@login.example.com", "user name"),
        ("https://login.example.com/{tenantid}/v2.0", "write your tenant's id"),
        ("https://login.example.com/" + "x" * 240, "at most 256"),
        ("https://login.microsoftonline.com/common/v2.0", "your tenant's id in place of common"),
        ("https://login.microsoftonline.com/organizations/v2.0", "your tenant's id in place of organizations"),
        ("https://login.microsoftonline.com/consumers/v2.0", "9188040d-6c67-4c5b-b112-36a304b66dad"),
        ("https://[::1", "issuer must"),
    ],
)
def test_issuer(issuer: Any, words: str) -> None:
    """An issuer that can't be one, and those of Entra that are nobody's."""
    assert any(words in fault for fault in faults(issuer=issuer))


def test_issuers_that_are_fine() -> None:
    """Loopback over http; a realm that is called common; 256 characters."""
    for issuer in ("http://localhost:8080", "https://kc.example/realms/common", "https://a.example/" + "x" * 238):
        assert make(issuer=issuer).issuer == issuer
    assert make(issuer="http://idp.internal", allow_http_hosts=["idp.internal"])


@each(
    ("given", "words"),
    [
        ({"scopes": ["profile"]}, "must hold openid"),
        ({"scopes": ["openid", "offline_access"]}, "leave it out"),
        ({"scopes": ["openid profile"]}, "list of words"),
        ({"scopes": "openid"}, "list of words"),
        ({"algorithms": ["HS256"]}, "RS256"),
        ({"algorithms": ["hs512"]}, "RS256"),
        ({"algorithms": ["none"]}, "RS256"),
        ({"algorithms": ["RS1"]}, "PS256"),
        ({"algorithms": "RS256"}, "list of names"),
        ({"client_auth": "client_secret_jwt"}, "private_key_jwt"),
        ({"client_auth": "client_secret_basic"}, "needs client_secret"),
        ({"client_auth": "client_secret_post", "client_secret": ""}, "needs client_secret"),
        ({"client_auth": "private_key_jwt"}, "needs client_key_file"),
        ({"client_auth": "none", "client_secret": "x"}, "leave those out"),
        ({"client_secret": 5}, "printable ASCII"),
        ({"client_secret": []}, "printable ASCII"),
        ({"client_id": "a b"}, "without spaces"),
        ({"claims": ["id=sub"]}, "choose another key"),
        ({"claims": ["logged_in_at=x"]}, "choose another key"),
        ({"claims": ["a=x", "a=y"]}, "once"),
        ({"claims": ["a"]}, "name=value"),
        ({"require_claims": ["groups"]}, "name=value"),
        ({"logout_scope": "all"}, "'session' or 'person'"),
        ({"pushed": "maybe"}, "'auto' or 'always' or 'never'"),
        ({"leeway": 301}, "between 0 and 300"),
        ({"leeway": -1}, "between 0 and 300"),
        ({"leeway": True}, "between 0 and 300"),
        ({"leeway": timedelta(minutes=6)}, "between 0 and 300"),
    ],
)
def test_refused(given: dict[str, Any], words: str) -> None:
    """Each is refused by one sentence that begins with the option, and says what to write."""
    found = faults(**given)
    assert [fault for fault in found if words in fault and fault.split("=")[0].split()[0] in given], found


NAMES = ("client_id", "scope", "response_type", "response_mode", "redirect_uri", "state", "nonce", "code_challenge",
         "code_challenge_method", "request", "request_uri", "registration", "id_token_hint", "iss")  # fmt: skip


def test_login_params_that_move_the_rules() -> None:
    """Each name that this code sets is refused, twice the same, prompt=none and a max_age that is none, too."""
    assert set(NAMES) == set(options._OWN_PARAMETERS)
    for name in NAMES:
        (fault,) = faults(login_params=[f"{name}=x"])
        assert re.match(rf"login_params must not set {name}: (use|leave) ", fault)
    assert "nobody could log in" in faults(login_params=["prompt=login none"])[0]
    assert "login_params must set acr_values once" in faults(login_params=["acr_values=1", "acr_values=2"])[0]
    assert "whole seconds" in faults(login_params=["max_age=1h"])[0]


def test_no_refused_name_is_sent_twice() -> None:
    """The address has each of the names that this code sets once, with its own value."""
    from urllib.parse import parse_qs, urlsplit

    with FakeOIDC() as op:
        provider = op.provider(login_params=["acr_values=gold", "max_age=60", "ui_locales=de fr"])
        asked = parse_qs(urlsplit(provider.start_login("s", CALLBACK).url).query)
    assert all(len(values) == 1 for values in asked.values())
    assert (asked["acr_values"], asked["max_age"], asked["ui_locales"]) == (["gold"], ["60"], ["de fr"])
    assert set(asked) - set(NAMES) == {"acr_values", "max_age", "ui_locales"}


def test_client_key_files(tmp_path: Path) -> None:
    """PEM with a private key that can sign: others are refused without a word of what is in them."""
    good = tmp_path / "good.pem"
    for kind in ("RSA2048", "P-256", "P-384", "Ed25519"):
        good.write_bytes(make_key(kind).as_pem(private=True))
        assert make(client_key_file=str(good))
    bad: list[bytes] = [
        b"",
        b"not a key",
        make_key("P-256").as_pem(private=False),
        b"-----BEGIN PRIVATE KEY-----",
        OKPKey.generate_key("X25519").as_pem(private=True),
        make_key("P-256").as_pem(private=True, password="secret"),
    ]
    for content in bad:
        good.write_bytes(content)
        assert faults(client_key_file=str(good))[0].startswith("client_key_file must be the path of a readable PEM")
    for path in ("/nowhere.pem", str(tmp_path), "a\0b", 5):
        assert faults(client_key_file=path)[0].startswith("client_key_file must be the path")


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_short_rsa_key(tmp_path: Path) -> None:
    """RSA below 2,048 bits is refused."""
    path = tmp_path / "short.pem"
    path.write_bytes(RSAKey.generate_key(1024).as_pem(private=True))
    assert "2,048 bits" in faults(client_key_file=str(path))[0]


def test_from_settings(tmp_path: Path) -> None:
    """Every option can be said in a file: lists one a line, times with units."""
    secret = tmp_path / "secret"
    secret.write_text("the-s3cret\n")
    middleware = clef_wsgi.from_settings(
        lambda environ, start_response: [],
        {
            "base_url": "https://www.example.com",
            "provider": "oidc",
            "provider.issuer": ISSUER,
            "provider.client_id": "site",
            "provider.client_secret_file": str(secret),
            "provider.scopes": "openid profile",
            "provider.claims": "\ndepartment=dept\nroles = app_roles",
            "provider.require_claims": "groups=Site Admins",
            "provider.login_params": "\nkc_idp_hint=github",
            "provider.leeway": "30s",
            "provider.logout_at_provider": "no",
            "store": "memory",
            "session.type": "memory",
            "session.secret": SECRET,
        },
    )
    assert middleware is not None


def test_every_reason_of_a_token_has_a_sentence() -> None:
    """No refusal of a token lacks its sentence."""
    source = inspect.getsource(tokens)
    reasons = set(re.findall(r'_refuse\("(\w+)"\)', source))
    assert tokens._REFUSALS.keys() - reasons == {"token_signature"}
    assert reasons < tokens._REFUSALS.keys()
