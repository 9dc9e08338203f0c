"""Prefixes of paths, and what they decide for a request: ignored, or a login needed. Default deny."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from . import paths

_MAX_ODD_LENGTH = 4096
"""Servers allow plain paths of any length; to read a long odd one in every way takes too long."""


class Prefixes:
    """Path prefixes: ``/admin`` holds ``/admin`` and ``/admin/...``, not ``/administer``; ``/`` holds everything.

    They are native strings, as PATH_INFO is.
    """

    def __init__(self, prefixes: Iterable[str] = ()) -> None:
        self.names = frozenset(prefix.rstrip("/") for prefix in prefixes)
        self.depth = max((name.count("/") for name in self.names), default=0)
        self._below = tuple(name + "/" for name in self.names)

    def __bool__(self) -> bool:
        return bool(self._below)

    def hold(self, path: str) -> bool:
        return path.startswith(self._below) or path in self.names

    def longest(self, path: str) -> int:
        """Return the length of the most specific prefix that holds the path, or -1."""
        return max((len(name) for name in self.names if path == name or path.startswith(name + "/")), default=-1)


class PathRules:
    """The decision of ``protect``, ``public`` and ``ignore`` over all readings of a path.

    A path needs a login if any reading does; it is public or ignored only if all are.
    """

    def __init__(self, protect: Prefixes, public: Prefixes, ignore: Prefixes) -> None:
        self._protect, self._ignore = protect, ignore
        self._named = Prefixes(protect.names - {""})
        self._public = Prefixes(public.names - {""})
        self._front_page_is_public = "" in public.names
        self._depth = max(prefixes.depth for prefixes in (protect, public, ignore))
        self.protect_anything = bool(protect)

    def readings(self, environ: Mapping[str, Any], path: str) -> tuple[str, ...]:
        """Return every path that a router could take the request for; none where nobody can say."""
        header = environ.get(paths.STEERING_HEADER)
        if header is None and isinstance(path, str) and paths.is_plain(path):
            return (path,)
        if not paths.is_native(path) or len(path) + len(header or "") > _MAX_ODD_LENGTH:
            return ()
        readings = paths.readings(path, header, self._depth)
        # What is glued together, or decoded twice, leads somewhere by chance or by intent: it counts where it hits
        # what was named.
        far = paths.decoded_again(path, self._depth)
        if header is not None:
            far |= paths.glued(path, header, self._depth)
        return (*readings, *filter(self._named.hold, far))

    def ignore(self, readings: Collection[str]) -> bool:
        return bool(readings) and all(map(self._ignore.hold, readings))

    def need_login(self, readings: Collection[str]) -> bool:
        return any(map(self._needs_login, readings))

    def _needs_login(self, reading: str) -> bool:
        if not self._protect.hold(reading):
            return False
        if reading == "/" and self._front_page_is_public:
            return False
        return not self._public or self._protect.longest(reading) > self._public.longest(reading)
