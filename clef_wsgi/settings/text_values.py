"""Text, as it stands in a file or in the environment, turned into what a constructor's annotation asks for.

Knows nothing of settings, of their names, or of what they mean. No sentence repeats a value: it may be a secret.
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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

MAX_DURATION = timedelta(days=36_500)

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_PAIR = re.compile(r"[^=\s][^=]*=.*")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_LISTS: dict[Any, Any] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
    **dict.fromkeys((collections.abc.Iterable, collections.abc.Collection, collections.abc.Sequence), list),
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_NO_TEXT = "can't be written as text: make this plug in Python"
_NO_SPACES = (int, float, bool, timedelta)
"""Kinds of items that are told apart by spaces, whoever asks for them."""


@dataclass(frozen=True)
class _OneALine:
    """The kind of an option of somebody else's: its texts may hold spaces. Our own lists are of paths and hosts."""

    kind: Any


class _Unknown:
    """Stands where an annotation names what only a type checker loads."""

    def __class_getitem__(cls, _: object) -> type[_Unknown]:
        return cls


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return next((vars(home)[name] for home in _HOMES if name in vars(home)), _Unknown)


_HOMES = (builtins, collections.abc, typing)
"""Where a name that only a type checker has loaded is looked for."""


def options_of(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What a class or function can be given by name: its parameters, whose annotations are types.

    What can't be known is ``str``. A ``**`` parameter is left out: see :func:`takes_anything`.

    :raises ValueError: as :func:`value_of`.
    """
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # what is written in C need not tell
        raise ValueError("names something that does not tell its options") from None
    function = make.__init__ if isinstance(make, type) else make  # type: ignore[misc]
    names = _Names(getattr(inspect.unwrap(function), "__globals__", {}))
    is_ours = str(names.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
    return {
        name: parameter.replace(annotation=hint if is_ours else _OneALine(hint))
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        for hint in (_hint(parameter.annotation, names),)
    }


def takes_anything(make: Callable[..., Any]) -> bool:
    """Whether there is a ``**`` parameter."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(make).parameters.values())


def _hint(annotation: Any, names: Mapping[str, Any]) -> Any:
    """An annotation as types, also where it or a part of it stands in quotes."""
    if annotation is inspect.Parameter.empty:
        return str

    def holder() -> None: ...

    try:
        while isinstance(annotation, str):
            annotation = eval(annotation, {}, names)  # noqa: S307  the text is of the constructor's own source
        holder.__annotations__ = {"it": annotation}
        return typing.get_type_hints(holder, {}, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001  what only a type checker understands
        return str


def value_of(text: str, annotation: Any) -> Any:
    """The value that the text means.

    :raises ValueError: it means none; the message goes on after the setting's name, without a full stop.
    """
    members = _members(annotation)
    origins = [typing.get_origin(member) or member for member in members]
    if collections.abc.Callable in origins:
        return reference(text, "function")
    if bool in members and (text.lower() in _WORDS or timedelta not in members):
        return _truth(text)
    if timedelta in members:
        return duration(text)
    mapping, collection = _first(_MAPPINGS, members), _first(_LISTS, members)
    if mapping is not None and (_are_pairs(text) or (collection is None and str not in members)):
        return _mapping(text, mapping)
    if collection is not None:
        return _lines(text) if str in members else _list(text, collection, isinstance(annotation, _OneALine))
    if str not in members and any(map(_holds_several, origins)):
        raise ValueError(_NO_TEXT)
    return _single(text, members)


def _members(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in _members(part))
    if isinstance(annotation, _OneALine):
        return _members(annotation.kind)
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(annotation.__origin__)
    inner = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    return (annotation,) if inner is None else _members(inner)  # NewType, and an alias made by ``type``


def _first(kinds: Collection[Any], members: tuple[Any, ...]) -> Any:
    return next((member for member in members if (typing.get_origin(member) or member) in kinds), None)


def _holds_several(origin: Any) -> bool:
    """Whether a kind is a mapping or a collection that no text is read as."""
    if not isinstance(origin, type) or origin is _Unknown:
        return False
    return typing.is_typeddict(origin) or (
        issubclass(origin, collections.abc.Iterable) and not issubclass(origin, (str, bytes, os.PathLike))
    )


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
    """A length of time: ``30d``, ``1h``, ``500ms``; without a unit, seconds.

    :raises ValueError: as :func:`value_of`.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError("must be a length of time, such as 30d, 12h, 5m or 90s")
    seconds = float(found[1]) * _SECONDS[found[2] or "s"]
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError(f"must be at most {MAX_DURATION.days}d")
    return timedelta(seconds=seconds)


def _list(text: str, annotation: Any, is_one_a_line: bool) -> Any:
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and members[-1:] not in ((), (...,)):
        raise ValueError(_NO_TEXT)  # each of its items is something else
    member = next(iter(members), str)
    make = _LISTS[typing.get_origin(annotation) or annotation]
    if is_one_a_line and not set(_members(member)) <= set(_NO_SPACES):
        if "\n" not in text and re.search("[ \t,]", text.strip()):
            raise ValueError("must have each item on a line of its own, the first one below the name")
        return make(value_of(item, _OneALine(member)) for item in _full_lines(text))
    if "," in text:
        raise ValueError("must have spaces between its items, not commas, as in: /admin /account")
    return make(value_of(item, member) for item in text.split())


def _are_pairs(text: str) -> bool:
    return all(_PAIR.fullmatch(line) for line in _full_lines(text))


def _full_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _mapping(text: str, annotation: Any) -> dict[Any, Any]:
    """Read names and values, ``name=value``, each pair on a line of its own."""
    if not _are_pairs(text):
        raise ValueError("must be name=value, each on a line of its own")
    name_kind, value_kind = typing.get_args(annotation) or (str, str)
    pairs = [line.partition("=")[::2] for line in _full_lines(text)]
    read = {value_of(name.strip(), name_kind): value_of(value.strip(), _OneALine(value_kind)) for name, value in pairs}
    if len(read) < len(pairs):
        raise ValueError("has a name twice")
    return read


def _lines(text: str) -> str | list[str]:
    """One text, or a list of several, each on a line of its own: a secret may hold spaces."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if len(lines) > 1 else _single(text.strip("\r\n"), (str,))


def reference(text: str, what: str) -> Any:
    """The function or class that ``package.module:name`` names.

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
    """The kind of an error and where it was raised, without its text."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    name = type(error).__name__
    return name if last is None else f"{name} in {Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno}"
