"""Log people in by OpenID Connect's code flow, and verify the provider's back-channel logouts."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from clef_wsgi.base.authorization_errors import refused_by_provider
from clef_wsgi.base.errors import (
    ClaimRejected,
    CodeRejected,
    ConfigurationError,
    LogoutRefused,
    StateMismatch,
)
from clef_wsgi.interfaces import Identity, LoginStart, Logout
from clef_wsgi.providers.http_client import HttpClient
from clef_wsgi.providers.renewal import Renewed

from . import options, peer_check
from .claims import ClaimRules
from .client_authentication import ClientAuthentication, ClientKey, read_client_key
from .code_flow import CodeFlow, authentication_request, check_response_issuer, params_of_login
from .keys import ProviderKeys
from .logout_keys import LogoutKeys
from .metadata import Discovery, Metadata
from .tokens import BadToken, Reader, Token, bad_token, is_number

LONGEST_KEPT_TOKEN = 3000
SECONDS_AT_LOGOUT = 1.0

_CODE = re.compile(r"[\x20-\x7e]{1,8192}")


class OIDCProvider:
    """Log people in with OpenID Connect (Core 1.0, code flow with PKCE), and out with Back-Channel Logout 1.0.

    The person's ``id`` is ``issuer + "#" + sub``.

    :raises ConfigurationError: with all that is wrong.

    ``ProviderUnavailable`` has the reasons of :class:`~clef_wsgi.providers.http_client.HttpClient`, and these:
    ``issuer_mismatch``, ``provider_metadata``, ``provider_keys``, ``provider_refused_app``, ``userinfo_signed``,
    ``webhook_busy``.
    """

    bounds_exchanges = True
    reads_errors = True
    default_login_age = timedelta(hours=12)
    max_logout_token_length = 7000
    """Characters of a logout token that a form of 8 KiB can carry."""

    def __init__(
        self,
        *,
        # The provider's issuer, letter for letter as in its metadata.
        issuer: str,
        # The site's id there.
        client_id: str,
        # The site's secret there; while it is being changed, several, newest first.
        client_secret: str | Sequence[str] | None = None,
        # PEM file with the site's private key, in place of a secret.
        client_key_file: str | None = None,
        # What is asked for.
        scopes: Sequence[str] = ("openid", "profile", "email"),
        # Signatures that are believed.
        algorithms: Sequence[str] = ("RS256", "ES256", "PS256", "Ed25519", "EdDSA"),
        # How the site authenticates: "auto", "client_secret_basic", "client_secret_post", "private_key_jwt", "none".
        client_auth: str = "auto",
        # Further keys of clef.user, each "key=claim".
        claims: str | Sequence[str] = (),
        # Who may log in, each "claim=value"; of several with one claim, one has to fit.
        require_claims: str | Sequence[str] = (),
        # Further parameters of a login's address, each "name=value".
        login_params: str | Sequence[str] = (),
        # Offer the provider's own logout after that of the site.
        logout_at_provider: bool = True,
        # "session": a logout ends the logins of one session at the provider; "person": all of that person.
        logout_scope: str = "session",
        # How far the provider's clock may be off (timedelta or seconds).
        leeway: timedelta | float = timedelta(seconds=60),
        # Pushed authorization requests (RFC 9126): "auto" where the provider demands them, "always", "never".
        pushed: str = "auto",
        # For all that one login asks of the provider's token and userinfo endpoints.
        timeout_seconds: float = 5.0,
        # PEM file with the certificates to trust, instead of the usual authorities.
        ca_file: str | None = None,
        # An http or https proxy. It is not used for loopback hosts.
        proxy_url: str | None = None,
        # Host names that may be asked without TLS; loopback hosts always may.
        allow_http_hosts: Collection[str] = (),
        # Seconds since the epoch.
        clock: Callable[[], float] = time.time,
    ) -> None:
        faults = [*options.issuer_faults(issuer, allow_http_hosts)]
        faults += options.client_faults(client_id, client_secret, client_key_file, client_auth)
        client_key = _client_key(client_key_file, faults)
        faults += [*options.scope_faults(scopes), *options.algorithm_faults(algorithms)]
        claim_pairs = options.pairs_of("claims", claims, faults)
        faults += options.claim_faults(claim_pairs)
        required = options.pairs_of("require_claims", require_claims, faults)
        params = options.pairs_of("login_params", login_params, faults)
        faults += options.login_param_faults(params)
        faults += options.switch_faults("logout_at_provider", logout_at_provider)
        faults += options.choice_faults("logout_scope", logout_scope, ("session", "person"))
        faults += [
            *options.choice_faults("pushed", pushed, ("auto", "always", "never")),
            *options.leeway_faults(leeway),
        ]
        try:
            http = HttpClient(
                timeout_seconds=timeout_seconds,
                ca_file=ca_file,
                proxy_url=proxy_url,
                allow_http_hosts=allow_http_hosts,
            )
        except ConfigurationError as error:
            faults += error.faults
        if faults:
            raise ConfigurationError(*faults)
        self.issuer, self.client_id = issuer, client_id
        self._http, self._seconds, self._clock = http, timeout_seconds, clock
        self._login_params, self._fixed_params = dict(params), {"client_id": client_id, "scope": " ".join(scopes)}
        self._ends_at_provider = logout_at_provider
        self._logout_keys = LogoutKeys(issuer, client_id, logout_scope == "person")
        seconds = leeway.total_seconds() if isinstance(leeway, timedelta) else float(leeway)
        self._reader = Reader(issuer, client_id, tuple(algorithms), seconds, clock)
        self._claims = ClaimRules(scopes, claim_pairs, required)
        self._authentication = ClientAuthentication(
            http,
            issuer=issuer,
            client_id=client_id,
            client_secrets=tuple(dict.fromkeys(options.secret_list(client_secret))),
            client_key=client_key,
            method=client_auth,
            clock=clock,
        )
        self._flow = CodeFlow(http, self._authentication, pushed=pushed)
        discovery = Discovery(http, issuer, allow_http_hosts=allow_http_hosts, clock=clock)
        self._metadata = Renewed(discovery.fetch, clock=clock)
        self._keys = ProviderKeys(http, self._metadata, clock=clock, seconds=timeout_seconds)

    def __repr__(self) -> str:
        return f"OIDCProvider(issuer={self.issuer!r}, client_id={self.client_id!r})"

    def start_login(self, state: str, redirect_url: str, *, hints: Mapping[str, Any] | None = None) -> LoginStart:
        """Return the authentication request (OpenID Connect Core 1.0, section 3.1.2.1; RFC 7636; RFC 9126).

        :param hints: ``login_hint``, ``prompt`` and ``max_age`` (seconds) for this login.
        :raises ProviderUnavailable: its metadata can't be had, or it does not take the pushed request.
        """
        metadata = self._fetched_metadata()
        params = params_of_login(self._login_params, hints or {})
        query, provider_state = authentication_request({**params, **self._fixed_params}, state, redirect_url)
        if "max_age" in params:
            provider_state["not_before"] = self._clock() - int(params["max_age"])
        if self._flow.must_push(metadata):
            query = {"client_id": self.client_id, "request_uri": self._flow.push(query, metadata)}
        return LoginStart(_with_query(metadata.addresses["authorization_endpoint"], query), provider_state)

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        """Verify the authentication response, redeem the code and verify the ID token (Core 1.0, section 3.1.3).

        :raises LoginRefused: with the reason, such as ``wrong_issuer``, ``not_allowed`` or ``token_nonce``.
        :raises ProviderUnavailable: the provider can't be asked, refuses the client or makes no sense.
        """
        metadata = self._fetched_metadata()
        check_response_issuer(query.get("iss"), self.issuer, metadata)
        if "error" in query:
            raise refused_by_provider(query["error"])
        code = query.get("code")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise CodeRejected
        nonce, verifier = provider_state.get("nonce"), provider_state.get("verifier")
        if not isinstance(nonce, str) or not isinstance(verifier, str):
            raise StateMismatch
        until = self._http.deadline()
        form = {"code": code, "redirect_uri": redirect_url, "code_verifier": verifier}
        document = self._flow.redeem(form, metadata, until)
        text, access_token = document.get("id_token"), document.get("access_token")
        token = self._verified_id_token(text, access_token, nonce, provider_state.get("not_before"))
        sources = [token.claims]
        if not self._claims.are_in(token.claims) and "userinfo_endpoint" in metadata.addresses:
            sources.append(self._flow.userinfo(access_token, token.claims["sub"], metadata, until))
        return self._identity(token.claims, str(text), self._claims.user(sources))

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        """Verify a logout token (Back-Channel Logout 1.0, section 2.6). Nobody is asked while its key is known.

        :raises LogoutRefused: with the reason, such as ``token_event``.
        :raises ProviderUnavailable: the provider's keys can't be had, or too many tokens came with unknown keys.
        """
        try:
            token = self._reader.logout_token(form.get("logout_token"))
            self._check_signature(token, is_of_stranger=True)
        except BadToken as bad:
            refused = LogoutRefused(bad.message, reason=bad.reason)
        else:
            signed_text = self._logout_keys.key("token", token.signing_input.decode("ascii"))
            digest = hashlib.sha256(signed_text.encode()).hexdigest()
            return Logout(keys=self._logout_keys.of_logout(token.claims), idempotency_key=digest)
        raise refused

    def end_login(self, provider_state: Mapping[str, Any], return_url: str, state: str) -> str | None:
        """Return where the browser may end its session at the provider (RP-Initiated Logout 1.0, section 2).

        :param provider_state: as it stayed with the login; empty where it was lost.
        :returns: None where there is no such address.
        :raises ProviderUnavailable: its metadata can't be had within a second.
        """
        if not self._ends_at_provider:
            return None
        address = self._metadata.current(SECONDS_AT_LOGOUT).addresses.get("end_session_endpoint")
        hints = {"id_token_hint": provider_state.get("id_token")}
        if not hints["id_token_hint"]:
            hints = {"logout_hint": provider_state.get("sid") or provider_state.get("sub")}
        query = {name: text for name, text in hints.items() if isinstance(text, str)}
        query |= {"client_id": self.client_id, "post_logout_redirect_uri": return_url, "state": state}
        return None if address is None else _with_query(address, query)

    def advertises_logout(self) -> bool:
        """Tell whether the metadata says that the provider supports back-channel logout."""
        return self._fetched_metadata().says("backchannel_logout_supported")

    def user_key(self, user_id: str) -> str:
        """Return ``["oidc", issuer, client_id, "person", user_id]`` as compact ASCII JSON."""
        return self._logout_keys.person(user_id)

    def check_peer(self, redirect_url: str) -> Iterator[tuple[str, str, str]]:
        """Ask the provider whether it knows this client, and compare its metadata with the options.

        :returns: findings: severity, sentence, remedy.
        :raises ProviderUnavailable: as in :meth:`finish_login`.
        """
        metadata, keys = self._fetched_metadata(), self._keys.current()
        yield from peer_check.metadata_findings(metadata, self._reader, keys)
        yield from peer_check.client_findings(self._authentication, metadata, redirect_url, self._http.deadline())

    def _fetched_metadata(self) -> Metadata:
        return self._metadata.current(self._seconds + 1)

    def _verified_id_token(self, text: object, access_token: object, nonce: str, not_before: object) -> Token:
        earliest = float(not_before) if isinstance(not_before, int | float) else None
        try:
            token = self._reader.id_token(text)
            self._check_signature(token, is_of_stranger=False)
            self._reader.check_id_token(token, nonce=nonce, access_token=access_token, not_before=earliest)
        except BadToken as bad:
            refused = ClaimRejected(bad.message, reason=bad.reason)
        else:
            return token
        raise refused

    def _check_signature(self, token: Token, *, is_of_stranger: bool) -> None:
        if not self._keys.verify(token.verifies, is_of_stranger=is_of_stranger):
            raise bad_token("token_signature")

    def _identity(self, claims: Mapping[str, Any], text: str, user: dict[str, Any]) -> Identity:
        auth_time = claims.get("auth_time")
        if is_number(auth_time) and 0 <= auth_time <= self._clock() + self._reader.leeway:
            user["authenticated_at"] = float(auth_time)
        user["id"] = self._logout_keys.user_id(claims["sub"])
        is_short = len(text) <= LONGEST_KEPT_TOKEN
        kept = {"id_token": text} if is_short else {name: claims[name] for name in ("sub", "sid") if name in claims}
        return Identity(user, keys=self._logout_keys.of_login(claims), provider_state=kept)


def _client_key(path: str | None, faults: list[str]) -> ClientKey | None:
    try:
        return None if path is None else read_client_key(path)
    except ValueError as error:
        faults.append(f"client_key_file {error}")
        return None


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query, quote_via=quote, safe='')}"
