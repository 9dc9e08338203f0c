"""Make a plug that settings name: find its class, its options, and call it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from clef_wsgi.base.errors import ClefError, ConfigurationError

from . import text_values

KNOWN: Mapping[str, Mapping[str, str]] = {
    "provider": {
        "clef": "clef_wsgi.providers.clef:ClefProvider",
        "oidc": "clef_wsgi.providers.oidc:OIDCProvider",
    },
    "store": {
        "memory": "clef_wsgi.stores.memory:MemoryLogoutStore",
        "sqlite": "clef_wsgi.stores.sqlite:SQLiteLogoutStore",
        "sql": "clef_wsgi.stores.sql:SQLAlchemyLogoutStore",
        "redis": "clef_wsgi.stores.redis:RedisLogoutStore",
    },
}
"""The short names of the package's own plugs."""
CACHE = "clef_wsgi.stores.cached:CachedLogoutStore"


class Plug:
    """The provider, or the store with what stands in front of it.

    :param kind: ``provider`` or ``store``.
    :param texts: all settings; what is wrong with the plug's name goes into ``faults``.
    """

    def __init__(self, kind: str, texts: Mapping[str, str], faults: list[str]) -> None:
        self.kind, self.prefix = kind, f"{kind}."
        self.takes_anything = True
        self._class: Callable[..., Any] | None = None
        self._front: Callable[..., Any] | None = None
        own: dict[str, Parameter] = {}
        front: dict[str, Parameter] = {}
        try:
            found = _class_named(kind, texts.get(kind))
            own, self.takes_anything = text_values.options_of(found)
            self._class = found
            if kind == "store" and "store.max_staleness" in texts and "max_staleness" not in own:
                self._front = _own_class(CACHE, "store.max_staleness")
                front, _ = text_values.options_of(self._front)
                del front["store"]  # the one behind it
        except ValueError as error:
            faults.append(f"{kind} {error}.")
        self.options = {self.prefix + name: option for name, option in (front | own).items()}
        self._of_front = front.keys() - own.keys()

    def make(self, values: Mapping[str, Any], faults: list[str]) -> Any:
        """Return the instance; None when it could not be made.

        :param values: those of all settings that could be read.
        """
        required = [key for key, option in self.options.items() if option.default is option.empty]
        if self._class is None or not all(key in values for key in required):
            return None
        given = {key.removeprefix(self.prefix): value for key, value in values.items() if key.startswith(self.prefix)}
        front = {name: given.pop(name) for name in self._of_front if name in given}
        made = self._call(self._class, (), given, faults)
        return made if made is None or self._front is None else self._call(self._front, (made,), front, faults)

    def _call(self, make: Callable[..., Any], first: tuple[Any, ...], given: dict[str, Any], faults: list[str]) -> Any:
        try:
            return make(*first, **given)
        except ConfigurationError as error:
            faults += [self._placed(fault, make) for fault in error.faults]
        except ClefError:
            raise
        except Exception as error:  # noqa: BLE001  a plug's own code: its text may hold a secret
            faults.append(f"{self.kind} could not be made: {text_values.place_of(error)}.")
        return None

    def _placed(self, fault: str, make: Callable[..., Any]) -> str:
        """Put the name that settings have for an option into a constructor's sentence."""
        sentence = fault.removeprefix(f"{getattr(make, '__name__', '')}: ")
        return f"{self.kind}.{sentence}" if f"{self.kind}.{sentence.split(' ')[0]}" in self.options else fault


def _class_named(kind: str, name: str | None) -> Callable[..., Any]:
    known = KNOWN[kind]
    if name is None:
        raise ValueError(f"is missing: it is {_named(known)}")
    if name in known:
        return _own_class(known[name], name)
    if ":" not in name:
        raise ValueError(f"must be {_named(known)}")
    found: Callable[..., Any] = text_values.reference(name, "class")
    return found


def _named(known: Mapping[str, str]) -> str:
    return f"{', '.join(known)}, or package.module:Class of your own"


def _own_class(reference: str, extra: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, ClefError):
        raise ValueError(f'= {extra} needs an extra: pip install ".[{extra}]" in its clone') from None
    return found
