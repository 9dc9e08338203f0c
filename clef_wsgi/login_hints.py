"""Hints for a login: whom the provider should ask for, how, and how fresh the authentication must be.

They come from the query of ``login_path`` and go to the provider (OpenID Connect Core 1.0, section 3.1.2.1). What is
not understood is left out: a visitor may change the query, so an app that needs a fresh authentication looks at
``clef.user["authenticated_at"]`` afterwards.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

MAX_LOGIN_HINT_LENGTH = 255
PROMPTS = ("login", "select_account")
MAX_AGE_LIMIT = 10**9
_RULES: Mapping[str, Callable[[Any], bool]] = {
    "login_hint": lambda value: (
        isinstance(value, str) and 0 < len(value) <= MAX_LOGIN_HINT_LENGTH and value.isprintable()
    ),
    "prompt": lambda value: value in PROMPTS,
    "max_age": lambda value: type(value) is int and 0 <= value < MAX_AGE_LIMIT,
}


def are_taken_by(provider: Any) -> bool:
    """Return whether the provider's ``start_login`` takes ``hints``."""
    try:
        parameters = inspect.signature(getattr(provider, "start_login", None)).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return "hints" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def read(query: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the hints of a query; a doubled, unknown or malformed one is none."""
    single: dict[str, Any] = {name: values[0] for name, values in query.items() if len(values) == 1}
    if re.fullmatch("[0-9]{1,9}", single.get("max_age", "")):
        single["max_age"] = int(single["max_age"])
    return valid(single)


def valid(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return those that are hints, and leave out the rest."""
    return {name: value for name, value in hints.items() if name in _RULES and _RULES[name](value)}


def check(prompt: str | None, max_age: int | None) -> dict[str, str]:
    """Return the query fields of what an app asks for.

    :raises ValueError: not a known ``prompt``, or ``max_age`` is no whole number of seconds, or a negative one.
    """
    if prompt is not None and prompt not in PROMPTS:
        raise ValueError(f"prompt must be one of {', '.join(PROMPTS)}.")
    if max_age is not None and not _RULES["max_age"](max_age):
        raise ValueError("max_age must be a whole number of seconds, 0 or more.")
    given = {"prompt": prompt, "max_age": None if max_age is None else str(max_age)}
    return {name: value for name, value in given.items() if value is not None}
