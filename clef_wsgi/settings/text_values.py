"""Turn text, as it stands in a file or in the environment, into what a constructor's annotation asks for.

No sentence repeats a value: it may be a secret.
"""

from __future__ import annotations

import builtins
import collections.abc
import importlib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

MAX_DURATION = timedelta(days=36_500)

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_LISTS = (collections.abc.Iterable, collections.abc.Collection, collections.abc.Sequence)
_SINGLE = (str, int, float, bool, timedelta, Path, os.PathLike, types.NoneType, collections.abc.Callable)


class _Untextual:
    """Stands for an annotation that no text is read as, and for a name that only a type checker loads."""

    def __class_getitem__(cls, _: object) -> type[_Untextual]:
        return cls


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return _Untextual


def options_of(make: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return what a class or function can be given by name, and whether it takes any other name too (``**``).

    The annotations of the parameters are types. What can't be known is ``str``.

    :raises ValueError: as :func:`value_of`.
    """
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # what is written in C need not tell
        raise ValueError("names something that does not tell its options") from None
    function = make.__init__ if isinstance(make, type) else make  # type: ignore[misc]
    names = _Names(vars(builtins) | getattr(inspect.unwrap(function), "__globals__", {}))
    is_ours = str(names.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
    options = {
        name: parameter.replace(annotation=hint if is_ours else _textual(hint))
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        for hint in (_hint(parameter.annotation, names),)
    }
    return options, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _hint(annotation: Any, names: Mapping[str, Any]) -> Any:
    """Return an annotation as a type, also where it stands in quotes."""
    if annotation is inspect.Parameter.empty:
        return str
    try:
        while isinstance(annotation, str):
            annotation = eval(annotation, {}, names)  # noqa: S307  the text is of the constructor's own source
        return annotation
    except Exception:  # noqa: BLE001  what only a type checker understands
        return str


def _textual(annotation: Any) -> Any:
    """Leave out what a text can't be for a plug of somebody else's: its lists may hold texts with spaces."""
    members = tuple(member for member in _members(annotation) if _origin(member) in _SINGLE)
    return typing.Union[members] if set(members) - {types.NoneType} else _Untextual  # noqa: UP007  made at run time


def read(texts: Mapping[str, str], options: Mapping[str, inspect.Parameter], faults: list[str]) -> dict[str, Any]:
    """Return each setting's value, by what its option asks for; note as a fault what has none."""
    values = {}
    for key, text in texts.items():
        annotation = options[key].annotation if key in options else str
        try:
            values[key] = value_of(text, annotation)
        except ValueError as error:
            faults.append(f"{key} {error}.")
    return values


def value_of(text: str, annotation: Any) -> Any:
    """Return the value that the text means.

    :raises ValueError: it means none; the message goes on after the setting's name, without a full stop.
    """
    members = _members(annotation)
    origins = [_origin(member) for member in members]
    if collections.abc.Callable in origins:
        return reference(text, "function")
    if bool in members and (text.lower() in _WORDS or timedelta not in members):
        return _truth(text)
    if timedelta in members:
        return duration(text)
    if not set(origins).isdisjoint(_LISTS):
        return _lines(text) if str in members else _words(text)
    if _Untextual in members and str not in members:
        raise ValueError("can't be written as text: make this plug in Python")
    return _single(text, members)


def _members(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in _members(part))
    return (annotation,)


def _origin(member: Any) -> Any:
    return typing.get_origin(member) or member


def _single(text: str, members: tuple[Any, ...]) -> Any:
    if str not in members and int in members and float not in members:
        return int(_matching(text, _INTEGER, "must be a whole number"))
    if str not in members and float in members:
        return float(_matching(text, _NUMBER, "must be a number, such as 5 or 0.5"))
    if not text.strip():
        raise ValueError("is empty: give it a value, or leave the line out")
    if "\n" in text:
        raise ValueError("must stand on one line")
    return Path(text) if str not in members and {Path, os.PathLike} & set(members) else text


def _matching(text: str, pattern: re.Pattern[str], sentence: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(sentence)
    return text


def _truth(text: str) -> bool:
    try:
        return _WORDS[text.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def duration(text: str) -> timedelta:
    """Read a length of time: ``30d``, ``1h``, ``500ms``; without a unit, seconds.

    :raises ValueError: as :func:`value_of`.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError("must be a length of time, such as 30d, 12h, 5m or 90s")
    seconds = float(found[1]) * _SECONDS[found[2] or "s"]
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError(f"must be at most {MAX_DURATION.days}d")
    return timedelta(seconds=seconds)


def _words(text: str) -> list[str]:
    """Split a list of ours, of paths or hosts: none of them holds a space."""
    if "," in text:
        raise ValueError("must have spaces between its items, not commas, as in: /admin /account")
    return text.split()


def _lines(text: str) -> str | list[str]:
    """Read one text, or a list of several, each on a line of its own: a secret may hold spaces."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if len(lines) > 1 else _single(text.strip("\r\n"), (str,))


def reference(text: str, what: str) -> Any:
    """Import the function or class that ``package.module:name`` names.

    :param what: what it should be, for the sentence.
    :raises ValueError: as :func:`value_of`.
    """
    module, _, name = _matching(text, _REFERENCE, f"must be package.module:{what}").partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        if callable(found):
            return found
        problem = f"must name a {what}, and names something else"
    except ModuleNotFoundError as error:
        problem = f"names a module that can't be imported: there is no {error.name}"
    except AttributeError:
        problem = f"names a {what} that is not in its module"
    except Exception as error:  # noqa: BLE001  the module's own code: whatever it raises, it is not there
        problem = f"names a module that can't be imported: {place_of(error)}"
    raise ValueError(problem)  # outside of the handler, and so without the cause: its text may hold anything


def place_of(error: BaseException) -> str:
    """Name the kind of an error and where it was raised, without its text."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    name = type(error).__name__
    return name if last is None else f"{name} in {Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno}"
