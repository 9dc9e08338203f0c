"""An OpenID Connect provider on loopback that a test scripts: it signs with joserfc, and plays every misbehaviour.

    with FakeOIDC() as op:
        provider = op.provider()
        start = provider.start_login("state", REDIRECT_URL)
        identity = provider.finish_login(op.approve(start.url, "ann"), start.provider_state, REDIRECT_URL)
        logout = provider.read_logout({"logout_token": op.logout_token(sub="ann")})

``op.claims``, ``op.header`` and ``op.userinfo`` change what is said next: a value of ``GONE`` takes a member away.
``op.says[path]`` answers in place of an endpoint. ``op.requests`` holds all that was asked.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.client import responses
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit
from wsgiref.handlers import format_date_time
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from clef_wsgi.providers.oidc import OIDCProvider

CLIENT_ID, CLIENT_SECRET = "the-client", "the s3cret: of+the%client"
PLAIN_SECRET = "the-s3cret"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
GONE: Any = object()

SigningKey = RSAKey | ECKey | OKPKey
Answer = tuple[int, Mapping[str, str], bytes]


@functools.cache
def make_key(kind: str = "P-256", serial: int = 0) -> SigningKey:
    """A private key, the same for the same arguments: RSA takes long to make."""
    key: SigningKey
    if kind.startswith("RSA"):
        key = RSAKey.generate_key(int(kind[3:]))
    elif kind == "Ed25519":
        key = OKPKey.generate_key("Ed25519")
    else:
        key = ECKey.generate_key("P-384" if kind == "P-384" else "P-256")
    return key


@dataclass
class Key:
    """A signing key with its id; ``kid`` None publishes it without one."""

    kid: str | None = "k1"
    algorithm: str = "ES256"
    serial: int = 0

    @property
    def private(self) -> SigningKey:
        kinds = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
        return make_key(kinds.get(self.algorithm, "RSA2048"), self.serial)

    @property
    def jwk(self) -> dict[str, Any]:
        named = {} if self.kid is None else {"kid": self.kid}
        return {**self.private.as_dict(private=False), "use": "sig", "alg": self.algorithm, **named}


@dataclass(frozen=True)
class Seen:
    """One request that the provider got."""

    method: str
    path: str
    form: dict[str, str]
    authorization: str | None
    headers: dict[str, str] = field(repr=False)

    @property
    def basic(self) -> tuple[str, str]:
        """Id and secret of Basic authentication, not form-decoded."""
        assert self.authorization is not None
        name, _, secret = base64.b64decode(self.authorization.removeprefix("Basic ")).decode().partition(":")
        return name, secret


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: Mapping[str, Any], claims: Mapping[str, Any], key: SigningKey) -> str:
    """Any JWT at all; its ``alg`` says how it is signed."""
    signing_input = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    signature = JWSRegistry.algorithms[str(header["alg"])].sign(signing_input.encode(), key)
    return f"{signing_input}.{encode(signature)}"


def changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not GONE}


def slowly(seconds: float, answer: Answer) -> Callable[[], Answer]:
    """For ``says``: the answer, after a while."""

    def wait() -> Answer:
        threading.Event().wait(seconds)
        return answer

    return wait


class FakeOIDC:
    """A provider with one client. ``secret`` None means a public one; ``decodes`` False is what glewlwyd does."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.keys = [Key()]
        self.published: list[Any] | None = None
        """Content of the JWK set; None for the keys themselves."""
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.id_token: Callable[[str], str] = lambda token: token
        self.userinfo: dict[str, Any] = {}
        self.token_response: dict[str, Any] = {}
        self.secrets: tuple[str, ...] = (PLAIN_SECRET,)
        self.auth_methods: tuple[str, ...] = ("client_secret_basic", "client_secret_post")
        self.decodes_basic = True
        self.error_of_client: tuple[int, str] = (401, "invalid_client")
        self.says: dict[str, Callable[[], Answer] | Answer] = {}
        self.requests: list[Seen] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.pushed: dict[str, dict[str, str]] = {}
        self._serial = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _Quiet)
        self._server.set_app(self)
        self.issuer = f"http://localhost:{self._server.server_port}"

    def __enter__(self) -> FakeOIDC:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake OIDC", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- for tests ----------------------------------------------------------------------------------------------

    def provider(self, **options: Any) -> OIDCProvider:
        """A client of this provider."""
        given = {
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": PLAIN_SECRET,
            "clock": self.clock,
            "timeout_seconds": 5.0,
            **options,
        }
        return OIDCProvider(**{name: value for name, value in given.items() if value is not GONE})

    def approve(self, url: str, person: str = "ann", **query: Any) -> dict[str, Any]:
        """The callback's query after a person has approved the login that begins at ``url``."""
        asked = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        if "request_uri" in asked:
            asked = self.pushed.pop(asked["request_uri"])
        code = f"code-{next(self._serial)}"
        self.codes[code] = {**asked, "sub": person}
        return changed({"code": code, "state": asked["state"]}, query)

    def logout_token(self, *, header: Mapping[str, Any] = {}, key: Key | None = None, **claims: Any) -> str:
        """A logout token; without ``sub`` and ``sid`` it names nobody."""
        key, now = key or self.keys[0], int(self.clock())
        usual = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": f"jti-{next(self._serial)}",
            "events": {LOGOUT_EVENT: {}},
        }
        return signed(self._header(key, {"typ": "logout+jwt", **header}), changed(usual, claims), key.private)

    def rotate(self, *, keeps: bool = False) -> Key:
        """A new key signs from now on; the old ones are published no longer unless ``keeps``."""
        serial = next(self._serial)
        key = Key(f"k{serial}", self.keys[0].algorithm, serial)
        self.keys = [key, *(self.keys if keeps else [])]
        return key

    def count(self, path: str) -> int:
        """Return the number of requests to an endpoint."""
        return sum(seen.path == path for seen in self.requests)

    @property
    def token_requests(self) -> int:
        return self.count("/token")

    # -- the endpoints ------------------------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        path = environ["PATH_INFO"]
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        seen = Seen(environ["REQUEST_METHOD"], path, form, environ.get("HTTP_AUTHORIZATION"), headers)
        self.requests.append(seen)
        scripted = self.says.get(path)
        if scripted is not None:
            status, more, content = scripted() if callable(scripted) else scripted
        else:
            status, document = self._answer(path, seen)
            more, content = {"Content-Type": "application/json"}, json.dumps(document).encode()
        lines = {"Date": format_date_time(self.clock()), **more, "Content-Length": str(len(content))}
        start_response(f"{status} {responses.get(status, 'Odd')}", list(lines.items()))
        return [content]

    def _answer(self, path: str, seen: Seen) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, changed(self._metadata(), self.metadata)
        if path == "/jwks":
            return 200, {"keys": [key.jwk for key in self.keys] if self.published is None else self.published}
        if path == "/userinfo":
            sub = (seen.authorization or "").removeprefix("Bearer at-")
            return 200, changed({"sub": sub, "name": f"{sub} of userinfo"}, self.userinfo)
        if path in ("/token", "/par"):
            if not self._knows_client(seen):
                return self.error_of_client[0], {"error": self.error_of_client[1]}
            return self._push(seen.form) if path == "/par" else self._redeem(seen.form)
        return 404, {"error": "no_such_page"}

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "pushed_authorization_request_endpoint": f"{self.issuer}/par",
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": list(self.auth_methods),
            "code_challenge_methods_supported": ["S256"],
            "backchannel_logout_supported": True,
        }

    def _knows_client(self, seen: Seen) -> bool:
        if seen.authorization is not None:
            pair = tuple(map(unquote_plus, seen.basic)) if self.decodes_basic else seen.basic
            return "client_secret_basic" in self.auth_methods and pair in [(CLIENT_ID, each) for each in self.secrets]
        if seen.form.get("client_id") != CLIENT_ID:
            return False
        if "client_secret" in seen.form:
            return "client_secret_post" in self.auth_methods and seen.form["client_secret"] in self.secrets
        return "none" in self.auth_methods or "client_assertion" in seen.form

    def _push(self, form: dict[str, str]) -> tuple[int, Any]:
        request_uri = f"urn:ietf:params:oauth:request_uri:{next(self._serial)}"
        self.pushed[request_uri] = form
        return 201, {"request_uri": request_uri, "expires_in": 60}

    def _redeem(self, form: dict[str, str]) -> tuple[int, Any]:
        login = self.codes.pop(form["code"], None)
        challenge = encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if login is None or login["code_challenge"] != challenge or login["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        access_token = f"at-{login['sub']}"
        token = self.id_token(self._id_token(login, access_token))
        usual = {"access_token": access_token, "token_type": "Bearer", "id_token": token}
        return 200, changed(usual, self.token_response)

    def _id_token(self, login: Mapping[str, str], access_token: str) -> str:
        now = int(self.clock())
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        usual = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": login["sub"],
            "iat": now,
            "exp": now + 300,
            "nonce": login.get("nonce"),
            "at_hash": encode(half) if self.keys[0].algorithm.endswith("256") else GONE,
            "sid": f"sid-of-{login['sub']}",
            "name": login["sub"].title(),
            "given_name": login["sub"].title(),
            "family_name": "Example",
            "preferred_username": login["sub"],
            "email": f"{login['sub']}@example.org",
            "email_verified": True,
        }
        return signed(self._header(self.keys[0], self.header), changed(usual, self.claims), self.keys[0].private)

    def _header(self, key: Key, changes: Mapping[str, Any]) -> dict[str, Any]:
        return changed({"alg": key.algorithm, "kid": GONE if key.kid is None else key.kid, "typ": "JWT"}, changes)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is what many tests are about."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""
