"""Parse words of the command line: the types and the options that commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clef_wsgi.base.redirect_rules import is_redirect_url, is_web_url
from clef_wsgi.server import names
from clef_wsgi.server.clock import DAY, HOUR, days

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Run = Callable[[argparse.Namespace], None]

Place = Path | tuple[str, int]
MAX_NAME_LENGTH = 100
MAX_VALIDITY = 90 * DAY
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")
_PHONE = re.compile(r"\+?[0-9][0-9 ()/.-]{2,31}")
_PLACE = re.compile(r"unix:(?P<socket>.+)|(?P<host>[^\s:\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


def add_command(commands: Commands, name: str, run: Run, help: str, **more: Any) -> argparse.ArgumentParser:
    """Add a command with ``--database``. ``run`` takes what was parsed; ``help`` is one sentence."""
    parser = commands.add_parser(name, help=help, description=help, allow_abbrev=False, **more)
    parser.add_argument(
        "--database",
        metavar="WHERE",
        help="a file, or postgresql://user@host/name (default: the environment's CLEF_SERVER_DATABASE, or clef.db)",
    )
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Commands, name: str, help: str) -> Commands:
    """Add a command that has commands of its own."""
    group = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
    return group.add_subparsers(required=True, metavar="COMMAND")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command that lists something."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_origin(parser: argparse.ArgumentParser) -> None:
    """Add ``--origin`` to a command that prints the server's address."""
    parser.add_argument(
        "--origin", type=site_url, metavar="URL", help='the server\'s public address, if "server run" never ran'
    )


def name(text: str) -> str:
    """Parse a name of a person or a site."""
    if not names.is_name(text, MAX_NAME_LENGTH):
        raise argparse.ArgumentTypeError(f"a name has 1 to {MAX_NAME_LENGTH} printable characters")
    return names.tidied(text)


def is_email(text: str) -> bool:
    """Return whether a text has the form of an e-mail address."""
    return bool(_EMAIL.fullmatch(text)) and text.isprintable()


def email(text: str) -> str:
    """Parse an e-mail address, for which the administrator vouches."""
    if not is_email(text):
        raise argparse.ArgumentTypeError("an e-mail address has one @, and no spaces")
    return text


def phone(text: str) -> str:
    """Parse a telephone number, as people write it."""
    if not _PHONE.fullmatch(text):
        raise argparse.ArgumentTypeError("a telephone number looks like +49 30 1234567")
    return text


def or_nothing(check: Callable[[str], str]) -> Callable[[str], str]:
    """Return the same check for an option that may also be emptied: ``--email ""``."""
    return lambda text: check(text) if text else ""


def site_url(text: str) -> str:
    """Parse a site's own address, without a slash at its end."""
    if not is_web_url(text) or "?" in text:
        raise argparse.ArgumentTypeError("a site's address looks like https://www.example.com")
    return text.rstrip("/")


def redirect_url(text: str) -> str:
    """Parse a redirect URL."""
    if not is_redirect_url(text):
        raise argparse.ArgumentTypeError(
            "a redirect URL looks like https://www.example.com/clef/callback, without #, user, code and state"
        )
    return text


def webhook_url(text: str) -> str:
    """Parse a webhook."""
    if not is_web_url(text):
        raise argparse.ArgumentTypeError("a webhook looks like https://www.example.com/clef/webhook")
    return text


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
