"""The canonical path: PATH_INFO as the most lenient router behind the middleware reads it.

Paths here are native strings (PEP 3333): each character is a byte, and the bytes should be UTF-8. Routers disagree on
what to make of odd ones, so :func:`readings` returns every path that one of them could take the request for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote_to_bytes

STEERING_HEADER = "HTTP_X_VHM_ROOT"
"""The header that a router puts in front of the path: Pyramid's ``ResourceTreeTraverser`` (pyramid/traversal.py)."""

_PLAIN = re.compile(r"/(?:[\w~-][\w.~@+,=:-]*(?:/|\Z))*\Z", re.ASCII)
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*:(?://[^/]*)?")
_CONTROLS = dict.fromkeys([*range(0x20), 0x7F])
# Bytes that are not UTF-8, as the error handler "surrogateescape" shows them (PEP 383).
_DROPPED = {**_CONTROLS, **dict.fromkeys(range(0xDC80, 0xDD00))}
_AS_LATIN_1 = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}


def is_plain(path: str) -> bool:
    """Return whether every router reads this path alike, so that it is its only reading. This is the fast way."""
    return _PLAIN.match(path) is not None


def is_native(path: object) -> bool:
    """Return whether a server may hand this over as PATH_INFO (PEP 3333): latin-1 text, without NUL."""
    return isinstance(path, str) and "\0" not in path and (path.isascii() or ord(max(path)) < 0x100)


def to_native(text: str) -> str:
    """Encode text as PATH_INFO holds it: the bytes of its UTF-8, as latin-1."""
    return text.encode(errors="surrogatepass").decode("latin-1")


def to_text(path: str) -> str:
    """Decode PATH_INFO for people and for ``casefold``; bytes that are not UTF-8 become U+FFFD."""
    return path.encode("latin-1", "replace").decode(errors="replace")


def folded(path: str) -> str:
    """Return a canonical path with case and a slash at its end taken away, to compare near misses by."""
    bare = path.rstrip("/")
    return bare.lower() if bare.isascii() else to_native(to_text(bare).casefold())


def canonical(path: str) -> str:
    """Return the one path that this one stands for. Total and idempotent; there is no slash at the end.

    First bytes that are not UTF-8 and control characters are dropped, then ``;params`` and a leading ``@@`` of each
    segment, then empty and dot segments are resolved (RFC 3986, section 5.2.4). A backslash is a slash.
    """
    return "/" if path == "*" else _resolved(_names(_decoded(path, _DROPPED)))


def spellings(path: str) -> set[str]:
    """Return the canonical path by each way of decoding: near misses of an endpoint are found among them."""
    return {_resolved(_names(text)) for text in _texts(path)}


def readings(path: str, header: str | None = None, depth: int = 0) -> tuple[str, ...]:
    """Return every path that a router could take this request for, the path itself among them.

    :param path: PATH_INFO. An empty one is ``/``.
    :param header: the value of :data:`STEERING_HEADER`, if there is one.
    :param depth: the number of segments that matter, which is that of the longest prefix to compare with.
    """
    found = {path if path.startswith("/") else "/" + path, canonical(path)}
    for start in (path,) if header is None else (path, header + path):
        for text in _texts(start):
            found.update(_resolutions(text, range(depth + 1 if ".." in text else 1)))
    for kept, before, rest in () if header is None else _behind_routes(header, path, depth):
        found.update(_resolutions(before + _joined(rest), (kept,)))
    return tuple(found)


def glued(path: str, header: str, depth: int) -> set[str]:
    """Return what ``{traverse}`` of a route of Pyramid's makes of a header: ``/adm`` before ``in`` is ``/admin``."""
    texts = {(kept, before + "/".join(rest)) for kept, before, rest in _behind_routes(header, path, depth)}
    return {reading for kept, text in texts for reading in _resolutions(text, (kept,))}


def decoded_again(path: str, depth: int) -> set[str]:
    """Return what a Bottle that is mounted in a Bottle reads behind the mount, since it decodes once more.

    ``/sub/admÿin`` is ``/sub/admin``.
    """
    texts = [text for once in _texts(path) if not once.isascii() for text in _decoded_behind(once, depth)]
    return {reading for text in texts for reading in _resolutions(text, (0,))}


def _decoded_behind(text: str, depth: int) -> Iterator[str]:
    segments = text.split("/")
    for kept in range(2, depth + 1):
        rest = "/".join(segments[kept:])
        while is_native(rest) and not rest.isascii():
            rest = _decoded(rest, _DROPPED)
            yield "/".join([*segments[:kept], rest])


def _texts(path: str) -> Iterator[str]:
    """Yield the path decoded by each way, also without the scheme and host of an absolute request target."""
    starts = {path} if path.startswith("/") else {path, _SCHEME.sub("", path), _without_first_segment(path)}
    if "%" in path:
        starts |= {unquote_to_bytes(start.encode("latin-1", "ignore")).decode("latin-1") for start in starts}
    for start in starts:
        yield from _forms(start)


def _without_first_segment(path: str) -> str:
    """Cut what Werkzeug's ``DispatcherMiddleware`` loses of ``x/admin``: it hands over ``/admin``."""
    return path[path.find("/") :] if "/" in path else path


def _behind_routes(header: str, path: str, depth: int) -> Iterator[tuple[int, str, list[str]]]:
    """Yield how many segments are a route of Pyramid's, the header behind them, and what ``*traverse`` matches."""
    for text in _forms(path):
        segments = [segment for segment in text.split("/") if segment]
        for kept in range(depth + 1):
            for form in _forms(header):
                yield kept, "/".join(["", *segments[:kept], form]), segments[kept:]


def _forms(path: str) -> Iterator[str]:
    """Yield the text with odd bytes dropped (Bottle) and, where there are any, with them kept (plain WSGI)."""
    dropped = _decoded(path, _DROPPED)
    yield dropped
    kept = _decoded(path, _AS_LATIN_1)
    if kept != dropped:
        yield kept


def _decoded(path: str, table: Mapping[int, int | None]) -> str:
    return path.encode("latin-1", "ignore").decode(errors="surrogateescape").translate(table)


def _resolutions(text: str, kept_names: Iterable[int]) -> Iterator[str]:
    """Yield the canonical path, and what is left where a router resolves dots behind a route's own segments alone."""
    for kept in kept_names:
        yield _resolved(_names(text), kept)
        # Pyramid resolves dots first, and looks for a view's name then: what becomes a dot segment by it is a name.
        yield to_native("/" + "/".join(filter(None, _names(_joined(text.split("/"), kept)))))
        if ".." in text:
            yield _through_parents(_names(text), kept)


def _through_parents(segments: Iterable[str], kept: int) -> str:
    """Resolve dots as Bottle and Django do for files: ``/files/../static/x`` is ``/files/x`` in a folder ``static``."""
    names = [segment for segment in segments if segment not in ("", ".")]
    climbed, found = 0, list[str]()
    for name in names[kept:]:
        if name != "..":
            found.append(name)
        elif found:
            found.pop()
        else:
            climbed += 1
    return to_native("/" + "/".join([*names[:kept], *found[climbed:]]))


def _names(text: str) -> list[str]:
    names = [segment.partition(";")[0] for segment in text.replace("\\", "/").split("/")]
    return [_without_selector(name) for name in names] if "@@" in text else names


def _without_selector(name: str) -> str:
    """Cut what marks a view's name in Pyramid's traversal: ``/@@admin`` is ``/admin``."""
    while name.startswith("@@"):
        name = name[2:]
    return name


def _joined(segments: Iterable[str], kept: int = 0) -> str:
    """Resolve empty and dot segments; ``..`` takes none of the first ``kept`` names away."""
    names: list[str] = []
    for segment in segments:
        if segment == "..":
            del names[max(kept, len(names) - 1) :]
        elif segment not in ("", "."):
            names.append(segment)
    return "/" + "/".join(names)


def _resolved(segments: Iterable[str], kept: int = 0) -> str:
    return to_native(_joined(segments, kept))
