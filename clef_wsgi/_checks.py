"""Checks of constructor options: every fault is gathered, and raised as one sentence each.

Knows nothing of what the options mean later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from . import _paths
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

    def site(self, base_url: Any) -> _paths.Site:
        try:
            return _paths.parse_site(base_url)
        except ValueError as error:
            self.add(str(error))
            return _paths.Site("http://localhost")

    def path(self, option: str, value: Any) -> str:
        if not _is_plain_path(value) or value.endswith("/"):
            self.add(f"{option} must be a plain path such as /clef/login, without a slash at its end.")
        return str(value)

    def prefixes(self, option: str, value: Any) -> _paths.Prefixes:
        items = None if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)
        if items is None or not all(_is_plain_path(item) for item in items):
            self.add(f'{option} must be a list of plain paths, such as ["/admin", "/account"].')
            return _paths.Prefixes()
        return _paths.Prefixes(items)

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


def _is_plain_path(value: Any) -> bool:
    """Whether a path is written as servers will hand it over: absolute, decoded, in normal form, without a query."""
    return (
        isinstance(value, str)
        and value.startswith("/")
        and value.isprintable()
        and not any(character in value for character in "?#%\\ ")
        and _paths.normal_form(value) == value
    )


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
