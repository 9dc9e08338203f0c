"""Checks of constructor options: every fault is gathered, and raised as one sentence each.

Knows nothing of what the options mean later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from .base import paths, urls
from .base.path_rules import PathRules, Prefixes
from .errors import ConfigurationError


class Faults:
    """What is wrong with a set of options. Each check returns the value to go on with, or notes a fault."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, sentence: str) -> Any:
        self._sentences.append(sentence)

    def raise_all(self) -> None:
        if self._sentences:
            raise ConfigurationError(faults=tuple(self._sentences))

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
