"""A request and an answer as plain values, and how they are read. Knows nothing of sockets or of Clef."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What came. ``headers`` finds names in any case; ``body`` is capped before it gets here."""

    method: str
    path: str
    raw_query: str
    headers: Message[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def query(self) -> dict[str, str]:
        return single_fields(self.raw_query)

    @property
    def form(self) -> dict[str, str]:
        return single_fields(self.body.decode("utf-8", "replace"))

    def cookie(self, name: str) -> str:
        """The cookie's value, empty when there is none."""
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def credentials(self, scheme: str) -> str:
        """What follows ``scheme`` in the Authorization header, empty when there is none (RFC 9110, 11.4)."""
        given, _, value = self.headers.get("Authorization", "").partition(" ")
        return value.strip() if given.lower() == scheme else ""

    def basic(self) -> tuple[str, str]:
        """User name and password of HTTP Basic, empty when there are none (RFC 7617)."""
        try:
            name, _, password = base64.b64decode(self.credentials("basic")).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return name, password

    def same_origin(self) -> bool:
        """Whether a page of this very host sent the request."""
        site = self.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site == "same-origin"
        sender = urlsplit(self.headers.get("Origin") or self.headers.get("Referer") or "")
        return sender.scheme == "http" and sender.netloc == self.headers.get("Host")


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def json_answer(status: int, content: Any, *headers: tuple[str, str]) -> Answer:
    """An answer as the API gives it: always ``application/json``, never kept."""
    body = json.dumps(content).encode()
    return Answer(status, body, "application/json", (("Cache-Control", "no-store"), *headers))


def see_other(url: str, *headers: tuple[str, str]) -> Answer:
    """303: the browser goes on with a GET, whatever it sent (RFC 9110, 15.4.4)."""
    return Answer(303, headers=(("Location", url), ("Cache-Control", "no-store"), *headers))


def single_fields(text: str) -> dict[str, str]:
    """The fields of a query or form that are there exactly once."""
    fields = parse_qs(text, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items() if len(values) == 1}
