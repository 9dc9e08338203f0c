"""Check constructor options: gather every fault, and raise them together, one sentence each."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from . import paths, urls
from .errors import ConfigurationError
from .path_rules import PathRules, Prefixes


class Faults:
    """Gather the faults of a set of options. Each check returns the value to go on with, or notes a fault."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, *sentences: str) -> Any:
        self._sentences += sentences

    def raise_all(self) -> None:
        if self._sentences:
            raise ConfigurationError(*self._sentences)

    def made(self, make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return what ``make`` returns; None where it found faults, which are noted, each once."""
        try:
            return make(*arguments, **options)
        except ConfigurationError as error:
            self._sentences += [fault for fault in error.faults if fault not in self._sentences]

    def app(self, value: Any) -> Any:
        """Check that it is a WSGI app, and one that is not run by itself past the wrapping."""
        if not callable(value):
            self.add(f"app must be a WSGI app, not {_described(value)}: wrap(app, ...).")
        elif iscoroutinefunction(value) or iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
            self.add(
                f"app must be a WSGI app, and {_described(value)} is an ASGI app: write "
                "wrap(a2wsgi.ASGIMiddleware(app), ...), and read the person from scope['wsgi_environ']['clef.user']."
            )
        elif callable(getattr(value, "wsgi_app", None)):
            self.add("For Flask write app.wsgi_app = wrap(app.wsgi_app, ...): app.run() would go past wrap(app, ...).")
        return value

    def plug(self, option: str, value: Any, protocol: type) -> Any:
        if isinstance(value, type) or not isinstance(value, protocol):
            article = "an" if protocol.__name__[0] in "AEIOU" else "a"
            self.add(f"{option} must be an instance of {article} {protocol.__name__}, not {_described(value)}.")
        return value

    def issuer(self, provider: Any) -> str | None:
        issuer = getattr(provider, "issuer", None)
        if issuer is not None and (not isinstance(issuer, str) or not issuer):
            self.add("provider.issuer must be a text that names who answers for the identities.")
            return None
        return issuer

    def site(self, base_url: Any) -> urls.Site:
        try:
            return urls.parse_site(base_url)
        except ValueError as error:
            self.add(str(error))
            return urls.Site("http://localhost")

    def path(self, option: str, value: Any) -> str:
        """Check one of the middleware's own paths, and return it as PATH_INFO will hold it."""
        wanted = f"{option} must be a plain path such as /clef/login, without a slash at its end"
        if not _is_path(value) or value.endswith("/"):
            self.add(f"{wanted}.")
            return str(value)
        return self._plain(value, wanted)

    def prefixes(self, option: str, value: Any) -> Prefixes:
        items = None if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)
        wanted = f'{option} must be a list of plain paths, such as ["/admin", "/account"]'
        if items is None or not all(map(_is_path, items)):
            self.add(f"{wanted}.")
            return Prefixes()
        return Prefixes(self._plain(item, wanted) for item in items)

    def path_rules(self, protect: Any, public: Any, ignore: Any) -> PathRules:
        needed, free, ignored = (
            self.prefixes(option, value)
            for option, value in (("protect", protect), ("public", public), ("ignore", ignore))
        )
        # In public, a slash is the front page alone, so it may well be public where a slash is protected.
        doubled = {"protect": needed.names & free.names - {""}, "ignore": ignored.names & free.names}
        for option, names in doubled.items():
            for name in sorted(names):
                path = paths.to_text(name) or "/"
                self.add(f"public and {option} must not both have {path}: take it out of one.")
        return PathRules(needed, free, ignored)

    def _plain(self, path: str, wanted: str) -> str:
        """Return the path as PATH_INFO will hold it, and note a fault where a request could not have it so."""
        plain = paths.to_text(paths.canonical(paths.to_native(unquote(path))))
        if path not in (plain, plain + "/"):
            self.add(f"{wanted}: write {plain} there.")
        return paths.to_native(path)

    def seconds(self, option: str, value: Any) -> float:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if type(seconds) not in (int, float) or not math.isfinite(seconds) or seconds <= 0:
            self.add(f"{option} must be a positive timedelta or number of seconds.")
            return 1.0
        return float(seconds)

    def choice(self, option: str, value: Any, choices: tuple[str, ...]) -> str:
        if value not in choices:
            self.add(f"{option} must be {' or '.join(map(repr, choices))}.")
        return str(value)

    def switch(self, option: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.add(f"{option} must be True or False, not {_described(value)}.")
        return value is True

    def function(self, option: str, value: Any) -> Any:
        if not callable(value):
            self.add(f"{option} must be a function, not {_described(value)}.")
        return value

    def name(self, option: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            self.add(f"{option} must be a name, not {_described(value)}.")
        return str(value)


def _is_path(value: Any) -> bool:
    """Return whether this is text that can be a path at all: absolute, without query, spaces and odd characters."""
    return (
        isinstance(value, str)
        and value.startswith("/")
        and value.isprintable()
        and not any(character in value for character in "?# \ufffd")
    )


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


# -- HTTP clients: addresses, hosts, files, seconds. No sentence repeats a value, which could hold a password. ---

MAX_TIMEOUT_SECONDS = 60

_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash, on which parsers differ
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def check_url(
    url: object, name: str, *, allow_http_hosts: Collection[str] = (), allow_query: bool = False
) -> tuple[str, ...]:
    """Return the faults of the URL that the option ``name`` holds, one sentence each."""
    parts = _split(url)
    if parts is None:
        return (f"{name} must be an absolute URL in printable ASCII, as https://login.example.com.",)
    faults = []
    if parts.scheme == "http" and not _plain_http_allowed(parts.hostname or "", allow_http_hosts):
        faults.append(
            f"{name} must begin with https://; only loopback hosts, and those named in allow_http_hosts, "
            "may be asked over http://."
        )
    if "@" in parts.netloc:
        faults.append(f"{name} must not hold a user name or password: leave out all up to the @.")
    if "#" in str(url):
        faults.append(f"{name} must not have a fragment: leave out the # and all after it.")
    if "?" in str(url).partition("#")[0] and not allow_query:
        faults.append(f"{name} must not have a query: leave out the ? and all after it.")
    return tuple(faults)


def timeout_faults(seconds: object) -> tuple[str, ...]:
    """Return the faults of ``timeout_seconds``."""
    if isinstance(seconds, (int, float)) and seconds is not True and 0 < seconds <= MAX_TIMEOUT_SECONDS:
        return ()
    return (f"timeout_seconds must be a number above 0 and at most {MAX_TIMEOUT_SECONDS}, as 5.0.",)


def ca_file_faults(ca_file: object) -> tuple[str, ...]:
    """Return the faults of ``ca_file``, which is read once to find them."""
    if ca_file is None:
        return ()
    try:
        if isinstance(ca_file, str):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca_file)
            return ()
    except (OSError, ValueError):  # ssl.SSLError is an OSError; ValueError: a NUL in the path
        pass
    return ("ca_file must be the path of a readable PEM file that holds at least one certificate.",)


def proxy_faults(proxy_url: object) -> tuple[str, ...]:
    """Return the faults of ``proxy_url``, which may hold a user name and password."""
    if proxy_url is None or _split(proxy_url):
        return ()
    return ("proxy_url must be an http:// or https:// URL with a host, as http://proxy.example.com:3128.",)


def host_faults(hosts: object) -> tuple[str, ...]:
    """Return the faults of ``allow_http_hosts``."""
    fault = 'allow_http_hosts must be a list of host names without scheme or port, as ["clef.internal"].'
    if not isinstance(hosts, Collection) or isinstance(hosts, (str, bytes)):
        return (fault,)
    if all(isinstance(host, str) and _HOST.fullmatch(host) for host in hosts):
        return ()
    return (fault,)


def _split(url: object) -> SplitResult | None:
    try:
        if not isinstance(url, str) or not _URL.fullmatch(url):
            return None
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # both raise ValueError where there is none to be had
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and _HOST.fullmatch(host) else None


def _plain_http_allowed(host: str, allow_http_hosts: Collection[str]) -> bool:
    if urls.is_loopback(host):
        return True
    return not host_faults(allow_http_hosts) and host in {name.lower() for name in allow_http_hosts}
