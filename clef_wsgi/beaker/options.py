"""Set Beaker's options to safe defaults, each with its reason, and check those in force.

What was measured here was measured on Beaker 1.14.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from inspect import Parameter, signature
from typing import Any

from beaker.cache import clsmap
from beaker.session import Session
from beaker.util import coerce_session_params

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.base.options import Faults
from clef_wsgi.base.urls import Site

from .session_class import TolerantSession

MIN_SECRET_LENGTH = 32
_HOW_TO_MAKE_A_SECRET = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265, section 4.1.1
_NOT_OPTIONS = ("self", "request", "id", "namespace", "namespace_class", "session_class", "use_cookies", "sa_opts")
_MORE = {
    # Those that its middleware takes out before it makes a session.
    "auto": Parameter("auto", Parameter.POSITIONAL_OR_KEYWORD, default=False),
    "webtest_varname": Parameter("webtest_varname", Parameter.POSITIONAL_OR_KEYWORD, default=None),
    "lock_dir": Parameter("lock_dir", Parameter.POSITIONAL_OR_KEYWORD, default=None),
}


def session_options(
    *,
    base_url: str,
    max_login_age: timedelta | float = timedelta(days=30),
    state_lifetime: timedelta | float = timedelta(hours=1),
    **beaker: Any,
) -> dict[str, Any]:
    """Return Beaker's options for ``SessionMiddleware``, with defaults that are safe for a login.

    :param base_url: the site's public origin and mount prefix, as for ``ClefMiddleware``.
    :param max_login_age: as for ``ClefMiddleware``: so long a session is kept, and a day.
    :param state_lifetime: as for ``ClefMiddleware``: so long what holds no login is kept, and an hour.
    :param beaker: Beaker's own options (``secret``, ``type``, ``data_dir``, ``url`` ...), which win.
    :returns: a dict whose keys begin with ``session.``: Beaker silently ignores a dict without them.
    :raises ConfigurationError: with every fault.

    ``timeout`` (seconds without a request) makes Beaker write the session at every request, five to nine times
    the cost of reading it, since that is how it knows; ``max_login_age`` costs nothing.
    """
    faults = Faults()
    site = faults.site(base_url)
    given = {re.sub(r"^(beaker\.)?session\.", "", name): value for name, value in beaker.items()}
    ages = {
        "max_login_age": faults.seconds("max_login_age", max_login_age),
        "state_lifetime": faults.seconds("state_lifetime", state_lifetime),
    }
    options = {**_defaults(site, given), "cookie_expires": timedelta(seconds=ages["max_login_age"]), **ages, **given}
    for fault in unsafe_options(options, site):
        faults.add(fault)
    faults.raise_all()
    options.update(_secrets(options["secret"]))
    try:
        coerce_session_params(dict(options))
    except Exception as error:  # noqa: BLE001  Beaker raises Exception itself, with a text that repeats no value
        raise ConfigurationError(f"The session can't be made so: {str(error).rstrip('.')}.") from None
    return {f"session.{name}": value for name, value in options.items()}


def _secrets(secret: str | Sequence[str]) -> dict[str, Any]:
    """Split a list of secrets into two options: Beaker would make one text of a list, brackets and all."""
    newest, *older = [secret] if isinstance(secret, str) else secret
    return {"secret": newest, **({"old_secrets": tuple(older)} if older else {})}


def _defaults(site: Site, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "file" if given.get("data_dir") else "memory",
        "key": cookie_name(site, host_only=given.get("cookie_path", "/") == "/" and not given.get("cookie_domain")),
        # Pickle, Beaker's default, runs code of whoever can write a record. (The envelope of file, Redis and
        # database records is pickle all the same: who can write the session store owns the process.)
        "data_serializer": "json",
        "httponly": True,
        "secure": site.is_https,
        # Strict would keep the cookie from the callback, which is a navigation from another site.
        "samesite": "Lax",
        # Rewriting the access time at each request costs 400 against 69 microseconds with files, 2,172 against
        # 240 with a database, and widens the window in which a slow request writes old content back.
        "save_accessed_time": bool(given.get("timeout")),
        "invalidate_corrupt": False,
        "session_class": TolerantSession,
    }


def option_parameters(kind: str) -> dict[str, Parameter]:
    """Return the options of a session of this kind, each with its type; one without a default is required.

    :raises ValueError: Beaker knows no such type; the message goes on after the option's name.
    """
    try:
        keeper = clsmap["memory" if kind == "cookie" else kind]  # that it can't be used is said elsewhere
    except KeyError:
        raise ValueError("must be memory, file, ext:redis, ext:database or another type of Beaker's") from None
    found = {**signature(keeper.__init__).parameters, **signature(Session.__init__).parameters, **_MORE}
    options = {name: p.replace(annotation=_annotation(p)) for name, p in found.items() if name not in _NOT_OPTIONS}
    if kind in ("file", "dbm"):
        options["data_dir"] = options["data_dir"].replace(default=Parameter.empty)
    return {name: p for name, p in options.items() if p.kind is p.POSITIONAL_OR_KEYWORD}


def _annotation(parameter: Parameter) -> Any:
    """Return an option's type by its default, since Beaker has no annotations. ``secret`` may be several here."""
    if parameter.name == "secret":
        return str | Sequence[str]
    if parameter.name in ("timeout", "cookie_expires"):
        return timedelta if parameter.default is None else bool | timedelta
    return type(parameter.default) if type(parameter.default) in (bool, int) else str


def cookie_name(site: Site, *, host_only: bool = True) -> str:
    """Return a cookie name of this site's own: cookies ignore ports, and paths don't part two applications.

    ``__Host-`` makes browsers refuse a cookie that another host of the domain set (RFC 6265bis, section 4.1.3).
    """
    name = "clef-" + _slug(site.origin.partition("://")[2])
    if site.prefix:
        # The digest tells apart what reads alike: /a-b and /a/b.
        name += f"-{_slug(site.prefix)}-{hashlib.sha256(site.prefix.encode()).hexdigest()[:8]}"
    return ("__Host-" if site.is_https and host_only else "") + name


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def unsafe_options(options: Mapping[str, Any], site: Site, *, must_be_shared: bool = False) -> list[str]:
    """Return one sentence for each option in force, by its name without prefix, that is not safe for a login."""
    if options.get("type") == "cookie":
        return [
            "A session of type 'cookie' can be replayed after a logout: keep it on the server (file, ext:redis ...)."
        ]
    secret_fault = _secret_fault(options.get("secret"))
    key = options.get("key", "beaker.session.id")
    checks = [
        (secret_fault, secret_fault),
        (
            not isinstance(key, str) or not _TOKEN.fullmatch(key),
            "The session cookie's key must be a name in letters, digits, '-', '_' and '.': others don't come back.",
        ),
        (
            not _is_class_of_ours(options.get("session_class")),
            "Beaker's own session class loses its cookie behind an odd one of somebody else's: write "
            f"SessionMiddleware(app, session_options(base_url={site.url('')!r}, secret=...)), which names ours.",
        ),
        (
            not _is_on(options.get("use_cookies", True)),
            "The session's id must come from its cookie alone: leave use_cookies out.",
        ),
        (
            options.get("data_serializer", "pickle") == "pickle",
            "The session's data_serializer is pickle, which runs code of whoever can write a record: set it to json.",
        ),
        (
            not _is_on(options.get("httponly")),
            "The session cookie must be closed to scripts: set httponly to true.",
        ),
        (
            site.is_https and not _is_on(options.get("secure")),
            "The session cookie of an https site must never travel over http: set secure to true.",
        ),
        (
            str(options.get("samesite", "Lax")).lower() != "lax",
            "The session cookie's samesite must be Lax: Strict keeps it from the callback, None gives it away.",
        ),
        (
            must_be_shared and (options.get("type") or ("file" if options.get("data_dir") else "memory")) == "memory",
            "Sessions live in one process, and the server runs several: set their type to file or ext:redis.",
        ),
    ]
    return [sentence for is_wrong, sentence in checks if is_wrong]


def _secret_fault(secret: Any) -> str:
    secrets = secret if isinstance(secret, list | tuple) else [secret]
    if not secrets or not all(each.strip() if isinstance(each, str) else each for each in secrets):
        return f"The session needs a secret, or any session id is accepted: make one with {_HOW_TO_MAKE_A_SECRET}."
    if not all(isinstance(each, str) for each in secrets):
        return (
            "The session's secret must be text, or a list of texts, newest first: "
            f"make one with {_HOW_TO_MAKE_A_SECRET}."
        )
    if isinstance(secret, str) and secret.startswith(("['", '["')):
        return "Beaker made one text of the session's list of secrets: give the list to session_options."
    if any(len(each.encode("utf-8", "replace")) < MIN_SECRET_LENGTH for each in secrets):
        return (
            f"The session's secret must have at least {MIN_SECRET_LENGTH} bytes: make one with {_HOW_TO_MAKE_A_SECRET}."
        )
    return ""


def _is_class_of_ours(session_class: Any) -> bool:
    return isinstance(session_class, type) and issubclass(session_class, TolerantSession)


def _is_on(value: Any) -> bool:
    return value.strip().lower() in ("true", "yes", "on", "y", "t", "1") if isinstance(value, str) else bool(value)
