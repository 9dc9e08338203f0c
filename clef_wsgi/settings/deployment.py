"""Turn settings, as names and texts, into the arguments of the constructors.

The constructors are the one home of every option: its name, type and default are read from them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.beaker.options import MIN_SECRET_LENGTH, option_parameters
from clef_wsgi.http import no_content
from clef_wsgi.interfaces import IdentityProvider, LogoutStore
from clef_wsgi.middleware import ClefMiddleware, wrap
from clef_wsgi.middleware_options import MiddlewareOptions, check_layers

from . import text_values
from .plugs import KNOWN, Plug
from .secret_files import read_secret

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ENVIRON_PREFIX = "CLEF_WSGI_"
_MAX_NAMED = 10
"""Largest number of unknown names that are listed one by one."""
_NOT_TEXT = ("app", "logout_store")
"""The middleware's arguments that no text can be."""
_RENAMED = {"logout_store": "store"}
_COMMENT = re.compile(r"[ \t][#;]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NAME = re.compile(r"(provider|store|session)\.[\w.-]{1,40}|[A-Za-z_-][A-Za-z_.-]{0,30}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAY_HOLD_ANYTHING = ("secret", "_key", "password", "token")
_UNREADABLE = "\0"
"""In place of a text whose fault is noted already: no other is so."""
_STAND_INS = {"base_url": "http://localhost", "session.secret": "*" * MIN_SECRET_LENGTH}
"""In place of what is missing or could not be read, whose fault is noted already: so the rest is checked too."""

Known = Mapping[str, Parameter]
"""Each setting there is, with its type and whether it is required."""


@dataclass(frozen=True)
class Deployment:
    """A deployment as settings describe it: both plugs, the middleware's other options, and Beaker's.

    ``session`` is None where the settings say nothing of it: then somebody else puts Beaker around the app.
    """

    provider: IdentityProvider = field(repr=False)
    logout_store: LogoutStore = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    session: Mapping[str, Any] | None = field(repr=False)

    @cached_property
    def checked(self) -> MiddlewareOptions:
        """Return the middleware's options as requests need them: paths, ages in seconds, the site.

        :raises ConfigurationError: with every fault, those of Beaker's options too.
        """
        if self.session is None:
            return MiddlewareOptions(no_content(), **self._arguments)
        return check_layers(MiddlewareOptions, no_content(), session=self.session, **self._arguments)[0]

    def wrap(self, app: WSGIApplication) -> WSGIApplication:
        """Return the app inside ``ClefMiddleware``, and that inside Beaker where there are options for it."""
        if self.session is None:
            return ClefMiddleware(app, **self._arguments)
        return wrap(app, session=self.session, **self._arguments)

    @property
    def _arguments(self) -> dict[str, Any]:
        return {"provider": self.provider, "logout_store": self.logout_store, **self.options}


def from_settings(app: WSGIApplication, settings: Mapping[str, str]) -> WSGIApplication:
    """Wrap an app as a mapping of texts says, such as a section of an INI file.

    :param settings: ``base_url``, ``provider``, ``provider.app_id``, ``store``, ``store.url`` ... With any
        ``session.`` key the app is wrapped in Beaker too.
    :raises ConfigurationError: with every fault.
    :raises StoreUnavailable: the store has to be asked at the start, and can't be.
    """
    return load(settings).wrap(app)


def settings_from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that stand in the environment: ``CLEF_WSGI_PROVIDER__APP_ID`` is ``provider.app_id``."""
    return {
        name.removeprefix(ENVIRON_PREFIX).lower().replace("__", "."): text
        for name, text in environ.items()
        if name.startswith(ENVIRON_PREFIX) and name.isupper()
    }


def load(settings: Mapping[str, str]) -> Deployment:
    """Make and check what the settings describe.

    :raises ConfigurationError: with every fault.
    :raises StoreUnavailable: as :func:`from_settings`.
    """
    faults: list[str] = []
    texts = {key: text if _is_plain(key, text, faults) else _UNREADABLE for key, text in settings.items()}
    plugs = [Plug(kind, texts, faults) for kind in KNOWN]
    known = {**_middleware_options(), **_session_options(texts, faults)}
    known.update(option for plug in plugs for option in plug.options.items())
    free = ("session.sa.", *(plug.prefix for plug in plugs if plug.takes_anything))
    texts = _with_secrets(_known_only(texts, known, free, faults), known, free, faults)
    missing = [key for key, option in known.items() if option.default is option.empty and key not in texts]
    faults += [f"{key} is missing." for key in missing]
    readable = {key: text for key, text in texts.items() if text != _UNREADABLE}
    stand_ins = {key: _STAND_INS[key] for key in (*missing, *texts) if key in _STAND_INS}
    values = stand_ins | text_values.read(readable, known, faults)
    provider, store = (plug.make(values, faults) for plug in plugs)
    options = {key: value for key, value in values.items() if "." not in key and key not in KNOWN}
    deployment = Deployment(provider, store, options, _session(values, texts))
    faults += _faults_together(deployment)
    if faults:
        raise ConfigurationError(*dict.fromkeys(faults))
    return deployment


def _is_plain(key: str, text: object, faults: list[str]) -> bool:
    """Return whether this can be a setting at all."""
    if not isinstance(text, str):
        problem = "must be text"
    elif _CONTROL.search(text):
        problem = "holds a control character"
    elif not text.isascii() and _SURROGATE.search(text):
        problem = "is not in UTF-8"
    elif _COMMENT.search(text) and not key.endswith(_MAY_HOLD_ANYTHING):
        problem = "has a comment behind its value: put the comment on a line of its own"
    else:
        return True
    faults.append(f"{_shown(key)} {problem}.")
    return False


def _known_only(texts: Mapping[str, str], known: Known, free: tuple[str, ...], faults: list[str]) -> dict[str, str]:
    """Return the settings that are known. Note each other as a fault, with the name that comes nearest."""
    found = {key: text for key, text in texts.items() if key in known or key.startswith(free) or _secret_of(key, known)}
    unknown = [key for key in texts if key not in found]
    faults += [_unknown(key, known) for key in unknown[:_MAX_NAMED]]
    if len(unknown) > _MAX_NAMED:
        faults.append(f"There are {len(unknown) - _MAX_NAMED} more settings that are not known.")
    return found


def _unknown(key: str, known: Known) -> str:
    shown = _shown(key)
    candidates = [*known, *(f"{name}_file" for name in known if name.endswith("secret"))]
    near = _RENAMED.get(key) or next(iter(difflib.get_close_matches(key, candidates, n=1)), "") if shown == key else ""
    return f"There is no setting {shown}" + (f": the nearest is {near}." if near else ".")


def _shown(key: str) -> str:
    # A line of a secret that is not indented is read as a name.
    return key if _NAME.fullmatch(key) else "with such a name (it is not shown: it could be part of a secret)"


def _secret_of(key: str, known: Collection[str], free: tuple[str, ...] = ()) -> str | None:
    """Return the setting whose value stands in the file that this one names."""
    name = key.removesuffix("_file")
    is_file = key.endswith("secret_file") and key not in known and (name in known or name.startswith(free))
    return name if is_file else None


def _with_secrets(texts: Mapping[str, str], known: Known, free: tuple[str, ...], faults: list[str]) -> dict[str, str]:
    """Read the secrets that stand in files; note a file that can't be read, and leave a mark in its place."""
    complete = dict(texts)
    for key in texts:
        name = _secret_of(key, known, free)
        if name is not None:
            if name in texts:
                faults.append(f"{name} and {key} are both given: leave one out.")
            try:
                complete[name] = read_secret(complete.pop(key))
            except ValueError as error:
                faults.append(f"{key} {error}.")
                complete[name] = _UNREADABLE
    return complete


def _middleware_options() -> dict[str, Parameter]:
    options, _ = text_values.options_of(MiddlewareOptions)
    options |= {kind: Parameter(kind, Parameter.KEYWORD_ONLY, default="", annotation=str) for kind in KNOWN}
    return {name: option for name, option in options.items() if name not in _NOT_TEXT}


def _session_options(texts: Mapping[str, str], faults: list[str]) -> dict[str, Parameter]:
    if not any(key.startswith("session.") for key in texts):
        return {}
    try:
        options = option_parameters(texts.get("session.type") or ("file" if "session.data_dir" in texts else "memory"))
    except ValueError as error:
        faults.append(f"session.type {error}.")
        options = option_parameters("memory")
    return {f"session.{name}": option for name, option in options.items()}


def _session(values: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any] | None:
    """Return Beaker's options, or None when the settings have none."""
    if not any(key.startswith("session.") for key in texts):
        return None
    session = {key[len("session.") :]: value for key, value in values.items() if key.startswith("session.")}
    if isinstance(session.get("timeout"), timedelta):
        session["timeout"] = int(session["timeout"].total_seconds())
    return session


def _faults_together(deployment: Deployment) -> list[str]:
    """Return the constructors' faults, but for those of a plug that could not be made: it has its sentence already."""
    plugs = {"provider": deployment.provider, "logout_store": deployment.logout_store}
    try:
        deployment.checked  # noqa: B018  kept, for who asks next
    except ConfigurationError as error:
        return [fault for fault in error.faults if plugs.get(fault.partition(" ")[0], fault) is not None]
    return []
