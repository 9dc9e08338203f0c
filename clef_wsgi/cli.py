"""The command ``clef-wsgi``: reads arguments, hands over, and turns what went wrong into one sentence.

Exit codes: 0 done, 1 the thing asked about is not well, 2 wrong usage. Knows nothing of what a command does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from clef_wsgi import demo

DEFAULT_PORT = 8400


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    :param argv: the arguments, those of the process if not given.
    :returns: the exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["server"]:
        return _server(words[1:])
    try:
        arguments = _parser().parse_args(words)
    except SystemExit as end:  # argparse has said why: --help, --version, or wrong usage
        return int(end.code or 0)
    try:
        return demo.run(port=arguments.port, check=arguments.check)
    except demo.DemoError as error:
        sys.stderr.write(f"clef-wsgi: {error}\n")
        return 1


def _server(words: Sequence[str]) -> int:
    from clef_wsgi.server import commands  # an island: nobody else loads any of it

    return commands.main(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clef-wsgi", description="Login and single logout for any WSGI app.")
    parser.add_argument("--version", action="version", version=f"clef-wsgi {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "demo",
        help="try the whole loop on this machine",
        description="Runs a provider and an example site on this machine, to sign in and to log out everywhere.",
    )
    command.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="the provider's port, the site has the next one (default %(default)s; 0 picks two free ones)",
    )
    command.add_argument("--check", action="store_true", help="walk the loop without a browser, then end")
    # for --help alone: its arguments are read where its commands are
    commands.add_parser("server", help="the self-hosted Clef: run it, and look after its sites and people")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65535):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65534")
    return int(text)


def _version() -> str:
    try:
        return version("clef_wsgi")
    except PackageNotFoundError:  # a checkout that is not installed
        return "(not installed)"
