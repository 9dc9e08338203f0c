"""Speak the Clef wire protocol: authorization by redirect, three API calls, one back-channel logout request.

What may go wrong on the network is ``http_client``'s.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from html import escape
from secrets import token_hex
from typing import Any, TypeGuard
from urllib.parse import quote, urlencode

from clef_wsgi import webhook_limit
from clef_wsgi.base.errors import (
    ClaimRejected,
    ClefError,
    CodeRejected,
    LoginRefused,
    LogoutRefused,
    ProviderUnavailable,
)
from clef_wsgi.base.options import Faults, check_url
from clef_wsgi.interfaces import MAX_USER_ID_LENGTH, Identity, LoginStart, Logout

from .http_client import Answer, HttpClient, unavailable

MAX_CLAIM_LENGTH = 320
"""The longest e-mail address (RFC 5321, section 4.5.3.1), and more than any name or phone number needs."""

_CLAIMS = ("email", "first_name", "last_name", "phone_number")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 6749, appendix A: codes and tokens are printable ASCII. The length keeps a URL within what servers take.
_TOKEN = re.compile(r"[\x20-\x7e]{1,2048}")
_CODE = re.compile(r"[\x20-\x7e]{1,8192}")
# The service gave 32 lowercase hex digits. Others that speak its protocol may not, so: what needs no thought
# in a URL, a form, an attribute and a log line.
_APP_ID = re.compile(r"[\x21-\x7e]{1,255}")
_SECRET = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,510}[\x21-\x7e])?")

_WRONG_SECRET = "Invalid App Secret."
_WRONG_APP = ("Invalid App ID.", _WRONG_SECRET, "Invalid App.")


class ClefProvider:
    """Log people in with Clef, or with any server that speaks its protocol (version 1).

    :param app_id: the application's public id, as the server gave it.
    :param app_secret: its secret; while a secret is being changed, a list with the newest first. The next one
        is tried only when the server names the one before as wrong.
    :param server_url: where the server is, such as ``https://login.example.com``; a path prefix may follow.
    :param timeout_seconds: for all that one login, or one logout, asks of the server.
    :param ca_file: PEM file with the certificates to trust, instead of the usual authorities.
    :param proxy_url: an http or https proxy. It is not used for loopback hosts.
    :param allow_http_hosts: host names that may be asked without TLS; loopback hosts always may.
    :param signed_tokens: verify the signature of a logout token before the server is asked. Only for a server that
        signs them, such as ``clef-wsgi server``.
    :raises ConfigurationError: with all that is wrong.

    ``ProviderUnavailable`` has the reasons of :class:`~clef_wsgi.providers.http_client.HttpClient`, and
    ``provider_refused_app``: the server does not know the app_id, or none of the secrets.
    """

    bounds_exchanges = True

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: str | Sequence[str],
        server_url: str,
        timeout_seconds: float = 5.0,
        ca_file: str | None = None,
        proxy_url: str | None = None,
        allow_http_hosts: Collection[str] = (),
        signed_tokens: bool = False,
    ) -> None:
        faults = Faults()
        faults.add(*_app_faults(app_id, app_secret, signed_tokens))
        faults.add(*check_url(server_url, "server_url", allow_http_hosts=allow_http_hosts))
        self._http: HttpClient = faults.made(
            HttpClient,
            timeout_seconds=timeout_seconds,
            ca_file=ca_file,
            proxy_url=proxy_url,
            allow_http_hosts=allow_http_hosts,
        )
        faults.raise_all()
        self.app_id = app_id
        self.server_url = server_url.rstrip("/")
        self._secrets = tuple(dict.fromkeys([app_secret] if isinstance(app_secret, str) else app_secret))
        self._signed_tokens = signed_tokens

    def __repr__(self) -> str:
        return f"ClefProvider(server_url={self.server_url!r}, app_id={self.app_id!r})"

    @property
    def issuer(self) -> str:
        """``[server_url, app_id]`` as compact ASCII JSON: a server gives each application ids of its own."""
        return _canonical_json(self.server_url, self.app_id)

    def start_login(self, state: str, redirect_url: str) -> LoginStart:
        """Return the authorization request, an address that needs no JavaScript. Nothing has to be kept for its end."""
        query = {"app_id": self.app_id, "redirect_url": redirect_url, "state": state}
        return LoginStart(f"{self.server_url}/iframes/qr?{urlencode(query, quote_via=quote, safe='')}")

    def button_tag(self, state: str, redirect_url: str) -> str:
        """Draw the original button: a script tag, as HTML, that marks the place where the button is drawn."""
        attributes = {
            "type": "text/javascript",
            "class": "clef-button",
            "src": f"{self.server_url}/v3/clef.js",
            "data-app-id": self.app_id,
            "data-redirect-url": redirect_url,
            "data-state": state,
        }
        return "<script {}></script>".format(" ".join(f'{k}="{escape(v)}"' for k, v in attributes.items()))

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        """Exchange the code for a token, and the token for a person, both before one deadline.

        :raises LoginRefused: the query tells of an error.
        :raises CodeRejected: there is no such code, or the server does not accept it.
        :raises ClaimRejected: the person's id can't be used.
        :raises ProviderUnavailable: the server can't be asked, refuses the application or makes no sense.
        """
        if "error" in query:
            raise LoginRefused(reason="provider_error")
        code = query.get("code")
        if not _is_token(code, _CODE):
            raise CodeRejected
        until = self._http.deadline()
        token = self._authorize(code, until)
        return Identity(self._user(token, until))

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        """Ask the server whose logout this is: its token means nothing by itself.

        :raises LogoutRefused: there is no such token, it is not signed as it should be, or the server does not know it.
        :raises ProviderUnavailable: as in :meth:`finish_login`; also where the id can't be used.
        """
        token = form.get("logout_token")
        if not _is_token(token):
            raise LogoutRefused
        if self._signed_tokens:
            self._verify_signature(token)
        with webhook_limit.of_this_process.place():
            answer = self._post("/api/v1/logout", {"logout_token": token}, self._http.deadline())
        clef_id = _canonical_id(_checked(answer, "Invalid Logout Token.", LogoutRefused()).get("clef_id"))
        if clef_id is None:
            raise _nonsense(answer)
        idempotency_key = hashlib.sha256(_canonical_json("clef", self.app_id, token).encode()).hexdigest()
        return Logout(keys=(self.user_key(clef_id),), idempotency_key=idempotency_key)

    def check_peer(self, redirect_url: str) -> Iterator[tuple[str, str, str]]:
        """Ask the server whether it knows this site, each of its secrets and its callback, with a code that nobody has.

        :returns: findings: severity, sentence, remedy.
        :raises ProviderUnavailable: as in :meth:`finish_login`.
        """
        refused = [secret for secret in self._secrets if not self._is_accepted(secret)]
        if len(refused) == len(self._secrets):
            raise unavailable("provider_refused_app")
        yield "ok", "The login service answers, and accepts this site's id and secret.", ""
        if refused:
            sentence = f"The login service refuses {len(refused)} of the {len(self._secrets)} secrets in app_secret."
            yield "warning", sentence, "Leave out the one that is over; copy the newest again if it is that one."
        if not self._leads_back_to(redirect_url):
            sentence = f"The login service does not lead people back to {redirect_url}."
            remedy = "Register that address there as a redirect URL of this site; see that base_url is right."
            yield "error", sentence, remedy

    def _is_accepted(self, secret: str) -> bool:
        form = {"code": f"check-{token_hex(16)}", "app_id": self.app_id, "app_secret": secret}
        answer = self._http.post_form(self._url("/api/v1/authorize"), form)
        if answer.document.get("error") == _WRONG_SECRET:
            return False
        try:
            _checked(answer, "Invalid OAuth Code.", CodeRejected())
        except CodeRejected:
            return True
        raise _nonsense(answer)  # a token for a code that nobody gave

    def _leads_back_to(self, redirect_url: str) -> bool:
        """Return whether a login may begin: its page is no JSON, so the status decides."""
        query = {"app_id": self.app_id, "redirect_url": redirect_url}
        try:
            status = self._http.get_json(self._url("/iframes/qr"), params=query).status
        except ProviderUnavailable as error:
            if error.reason != "provider_answer":
                raise
            status = vars(error)["http_status"] or 500
        return status < 400

    def user_key(self, user_id: str) -> str:
        """``["clef", app_id, user_id]`` as compact ASCII JSON, which no other three strings give."""
        return _canonical_json("clef", self.app_id, user_id)

    def _verify_signature(self, token: str) -> None:
        """Verify ``BODY.SIG[.SIG...]``: one signature for each of the app's secrets at the server, newest first."""
        body, *signatures = token.split(".")
        own = [token_signature(body, secret) for secret in self._secrets]
        if not body or not any([hmac.compare_digest(one, other) for one in signatures for other in own]):
            raise LogoutRefused("This logout is not signed with this site's secret.", reason="token_not_signed")

    def _authorize(self, code: str, until: float) -> str:
        answer = self._post("/api/v1/authorize", {"code": code}, until)
        token = _checked(answer, "Invalid OAuth Code.", CodeRejected()).get("access_token")
        if not _is_token(token):
            raise _nonsense(answer)
        return token

    def _user(self, token: str, until: float) -> dict[str, str]:
        # In the query, where a token should not be (RFC 6750, section 2.3): the service knew no other way, and
        # two ways at once are forbidden (section 2). It is the provider's own token, for the provider's own
        # log; none of ours has it.
        answer = self._http.get_json(self._url("/api/v1/info"), params={"access_token": token}, until=until)
        info = _checked(answer).get("info")
        if not isinstance(info, dict):
            raise _nonsense(answer)
        user_id = _canonical_id(info.get("id"))
        if user_id is None:
            raise ClaimRejected
        return {"id": user_id, **{name: info[name] for name in _CLAIMS if _is_claim(info.get(name))}}

    def _post(self, path: str, form: Mapping[str, str], until: float) -> Answer:
        """Post with each secret, newest first, until the server does not call it wrong; return the last answer."""
        for secret in self._secrets:
            complete = {**form, "app_id": self.app_id, "app_secret": secret}
            answer = self._http.post_form(self._url(path), complete, until=until)
            if answer.document.get("error") != _WRONG_SECRET:
                break
        return answer

    def _url(self, path: str) -> str:
        return self.server_url + path


def _app_faults(app_id: object, app_secret: object, signed_tokens: object) -> tuple[str, ...]:
    faults: tuple[str, ...] = () if isinstance(signed_tokens, bool) else ("signed_tokens must be True or False.",)
    if not isinstance(app_id, str) or not _APP_ID.fullmatch(app_id):
        faults += ("app_id must be the id that the server gave: printable ASCII without spaces.",)
    secrets = app_secret if isinstance(app_secret, (list, tuple)) else [app_secret]
    if not secrets or not all(isinstance(secret, str) and _SECRET.fullmatch(secret) for secret in secrets):
        faults += (
            "app_secret must be the secret that the server gave, or a list of such, newest first: printable "
            "ASCII, with no space or line end around it.",
        )
    return faults


def _checked(answer: Answer, refusal: str | None = None, refused: ClefError | None = None) -> Mapping[str, Any]:
    """Return the document of an answer that says success; raise ``refused`` where its error is ``refusal``.

    The error's text decides, and not the status: the service's own clients differ on it.
    """
    error = answer.document.get("error")
    if refused and error == refusal:
        raise refused
    if error in _WRONG_APP:
        raise unavailable("provider_refused_app", http_status=answer.status)
    success = answer.document.get("success", True)  # the service's own clients never looked at it
    if answer.status != 200 or "error" in answer.document or not (isinstance(success, int | float) and success):
        raise _nonsense(answer)
    return answer.document


def _nonsense(answer: Answer) -> ProviderUnavailable:
    return unavailable("provider_answer", http_status=answer.status)


def token_signature(body: str, secret: str) -> str:
    """Sign a logout token's body with HMAC-SHA256 (RFC 2104), as base64url without padding.

    The key is the secret's digest, since a server keeps that alone.
    """
    key = hashlib.sha256(secret.encode()).digest()
    return urlsafe_b64encode(hmac.digest(key, body.encode("ascii"), "sha256")).rstrip(b"=").decode("ascii")


def _is_token(value: object, form: re.Pattern[str] = _TOKEN) -> TypeGuard[str]:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _is_claim(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_CLAIM_LENGTH and not _CONTROL.search(value)


def _canonical_id(value: object) -> str | None:
    """Return one spelling for one person: 12345 and "12345" are the same; true, 1.0, lists and nothing are nobody."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and 0 < len(text) <= MAX_USER_ID_LENGTH and not _CONTROL.search(text):
        return text
    return None


def _canonical_json(*parts: str) -> str:
    return json.dumps(parts, separators=(",", ":"))
