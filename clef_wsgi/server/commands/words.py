"""Parse single words of the command line: the types of its arguments. Each raises what argparse shows as its error."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from clef_wsgi.base.redirect_rules import is_redirect_url, is_web_url
from clef_wsgi.server import names
from clef_wsgi.server.clock import DAY, HOUR, days

Place = Path | tuple[str, int]
MAX_NAME_LENGTH = 100
MAX_VALIDITY = 90 * DAY
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")
_PHONE = re.compile(r"\+?[0-9][0-9 ()/.-]{2,31}")
_PLACE = re.compile(r"unix:(?P<socket>.+)|(?P<host>[^\s:\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


def name(text: str) -> str:
    """Parse a name of a person or a site."""
    if not names.is_name(text, MAX_NAME_LENGTH):
        raise argparse.ArgumentTypeError(f"a name has 1 to {MAX_NAME_LENGTH} printable characters")
    return names.tidied(text)


def is_email(text: str) -> bool:
    """Return whether a text has the form of an e-mail address."""
    return bool(_EMAIL.fullmatch(text)) and text.isprintable()


def _checked(is_right: Callable[[str], object], sentence: str) -> Callable[[str], str]:
    """Return a type that takes a text as it is, or says what is right."""

    def check(text: str) -> str:
        if not is_right(text):
            raise argparse.ArgumentTypeError(sentence)
        return text

    return check


email = _checked(is_email, "an e-mail address has one @, and no spaces")
"""An e-mail address, for which the administrator vouches."""

phone = _checked(_PHONE.fullmatch, "a telephone number looks like +49 30 1234567")
"""A telephone number, as people write it."""

redirect_url = _checked(
    is_redirect_url,
    "a redirect URL looks like https://www.example.com/clef/callback, without #, user, code and state",
)
webhook_url = _checked(is_web_url, "a webhook looks like https://www.example.com/clef/webhook")


def or_nothing(check: Callable[[str], str]) -> Callable[[str], str]:
    """Return the same check for an option that may also be emptied: ``--email ""``."""
    return lambda text: check(text) if text else ""


def site_url(text: str) -> str:
    """Parse a site's own address, without a slash at its end."""
    if not is_web_url(text) or "?" in text:
        raise argparse.ArgumentTypeError("a site's address looks like https://www.example.com")
    return text.rstrip("/")


def old_id(text: str) -> tuple[str, int]:
    """Parse ``APP=OLD_ID``: the pairwise id by which a site has known somebody so far."""
    app, equals, number = text.rpartition("=")
    if not (app and equals and re.fullmatch("[0-9]{1,16}", number)):
        raise argparse.ArgumentTypeError("an old id is written APP=NUMBER, such as photos=1085577321")
    return app, int(number)


def validity(text: str) -> int:
    """Parse how long a link works (``36h``, ``14d``) and return microseconds."""
    found = re.fullmatch("([1-9][0-9]{0,3})([hd])", text)
    length = int(found[1]) * {"h": HOUR, "d": DAY}[found[2]] if found else 0
    if not 0 < length <= MAX_VALIDITY:
        raise argparse.ArgumentTypeError("a link works for some hours or days, such as 36h or 14d, 90d at most")
    return length


def in_days(text: str) -> int:
    """Parse a number of days, ``400d``, and return microseconds."""
    try:
        return days(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text: str) -> int:
    """Parse a positive number."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError("this is a whole number, 1 or more")
    return int(text)


def host_and_port(text: str) -> tuple[str, int]:
    """Parse an address to listen on in the network."""
    found = place(text)
    if isinstance(found, Path):
        raise argparse.ArgumentTypeError("this address has a host and a port, such as 127.0.0.1:9100")
    return found


def place(text: str) -> Place:
    """Parse where to listen: a path for a socket in the file system, or host and port."""
    found = _PLACE.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise argparse.ArgumentTypeError("an address to listen on looks like 127.0.0.1:8400 or unix:/run/clef/socket")
    return Path(found["socket"]) if found["socket"] else (found["host"].strip("[]"), int(found["port"]))
