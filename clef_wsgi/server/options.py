"""The options of a server, checked in the constructor: all faults are gathered, one sentence each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from clef_wsgi.base.redirect_rules import is_web_url
from clef_wsgi.base.urls import is_loopback
from clef_wsgi.server.clock import days
from clef_wsgi.server.errors import ConfigurationError
from clef_wsgi.server.names import is_name
from clef_wsgi.server.public_suffixes import is_public_suffix

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
MAX_NAME_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rate limits: requests per minute of one address (of one app, where that is said). More is answered 429.

    :param sign_in: authentication ceremonies, and logins approved.
    :param enrolment: looks at enrolment links, and registration ceremonies.
    :param account: changes on the account page, and looks at receipts. Logging out everywhere is never refused.
    :param refused_calls: API calls without a secret, an access token or a logout token that is right. Calls that
        succeed are neither counted nor refused: a site's address is nothing that strangers could use up.
    :param refused_calls_of_an_app: API calls of one app that authenticated with its secret and were refused all the
        same, say for a code that is unknown. The rest of what it asks is answered.
    """

    sign_in: int = 120
    enrolment: int = 30
    account: int = 240
    refused_calls: int = 240
    refused_calls_of_an_app: int = 1200


@dataclass(frozen=True, kw_only=True)
class Options:
    """The checked options of a server; ``app.create_app`` says what each means, and has the defaults.

    :raises ConfigurationError: with everything that is wrong.
    """

    origin: str
    database: str | Path = field(repr=False)
    rp_id: str | None
    name: str
    logo: str | Path | None
    templates: str | Path | None
    trusted_proxy: str | Iterable[str]
    metrics_from: str | Iterable[str]
    keep_audit: str | None
    limits: Limits

    proxies: tuple[Network | str, ...] = field(init=False, default=())
    metrics_networks: tuple[Network | str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        faults = [*_origin_faults(self.origin), *_file_faults(self.logo, self.templates), *_limit_faults(self.limits)]
        if not faults:
            faults += _rp_faults(self.rp_id, self.host)
        if not isinstance(self.database, Path) and not (isinstance(self.database, str) and self.database):
            faults.append("database must be a file name, such as clef.db, or postgresql://user@host/name.")
        if not (self.name and is_name(self.name, MAX_NAME_LENGTH)):
            faults.append(f"name must be 1 to {MAX_NAME_LENGTH} printable characters.")
        faults += _audit_faults(self.keep_audit)
        object.__setattr__(self, "proxies", _networks("trusted_proxy", self.trusted_proxy, faults))
        object.__setattr__(self, "metrics_networks", _networks("metrics_from", self.metrics_from, faults))
        if faults:
            raise ConfigurationError(*faults)
        object.__setattr__(self, "origin", self.origin.removesuffix("/"))

    @property
    def host(self) -> str:
        """Return the host name of ``origin``."""
        return urlsplit(self.origin).hostname or ""

    @property
    def keep_audit_us(self) -> int | None:
        """Return how long an audit entry is kept, in microseconds; ``None``: for ever."""
        return None if self.keep_audit is None else days(self.keep_audit)

    @property
    def is_https(self) -> bool:
        """Return whether browsers come over TLS, for ``Secure`` cookies and HSTS."""
        return self.origin.startswith("https:")

    @property
    def passkey_domain(self) -> str:
        """Return the WebAuthn RP id: ``rp_id``, or the host of ``origin``."""
        return self.rp_id or self.host


def _origin_faults(origin: str) -> list[str]:
    parts = urlsplit(origin) if isinstance(origin, str) and is_web_url(origin) else None
    if parts is None or parts.path not in ("", "/") or "?" in origin or origin != origin.lower():
        return ["origin must be the public address in lower case without a path, such as https://login.example.com."]
    host = parts.hostname or ""
    if host.endswith("."):
        return ["origin must be a name without a dot at its end, since passkeys are made for it: they never fit both."]
    if parts.scheme == "http" and not is_loopback(host):
        return ["origin must start with https:// (plain http is for http://localhost only)."]
    if _is_address(host):
        return [
            "origin must be a name, since browsers make no passkeys for addresses: http://localhost on this machine."
        ]
    return []


def _rp_faults(rp_id: str | None, host: str) -> list[str]:
    if rp_id is None or rp_id == host:
        return []
    if not host.endswith(f".{rp_id}"):
        return [f"rp_id must be {host} or a parent domain of it, since browsers refuse any other."]
    if is_public_suffix(rp_id):
        return [
            f"rp_id: {rp_id} belongs to nobody alone, so browsers make no passkeys for it: leave it out for {host}."
        ]
    return []


def _file_faults(logo: str | Path | None, templates: str | Path | None) -> list[str]:
    faults = []
    if logo is not None and not (Path(logo).is_file() and Path(logo).suffix in LOGO_TYPES):
        faults.append(f"logo must be a file that exists, one of {', '.join(LOGO_TYPES)}.")
    if templates is not None and not Path(templates).is_dir():
        faults.append("templates must be a folder that exists.")
    return faults


def _audit_faults(keep_audit: object) -> list[str]:
    try:
        if keep_audit is None or (isinstance(keep_audit, str) and days(keep_audit)):
            return []
    except ValueError:
        pass
    return ["keep_audit must be some days, such as 400d; without it the audit is kept for ever."]


def _limit_faults(limits: Limits) -> list[str]:
    wrong = [name for name, value in vars(limits).items() if type(value) is not int or value < 1]
    return [f"limits: {name} must be a whole number, 1 or more." for name in wrong]


def _networks(name: str, given: str | Iterable[str], faults: list[str]) -> tuple[Network | str, ...]:
    entries = given.split() if isinstance(given, str) else list(given)
    try:
        return tuple(entry if entry == "unix" else ipaddress.ip_network(entry) for entry in entries)
    except ValueError:
        faults.append(f"{name} must be addresses or networks, such as 127.0.0.1 or 10.0.0.0/8, or unix.")
        return ()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
