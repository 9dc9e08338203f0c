"""Parse the arguments of the command ``clef-wsgi``, and hand over.

Exit codes: 0 done, 1 the thing asked about is not well, 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from clef_wsgi import settings_from_environ, upkeep
from clef_wsgi.base import command_line
from clef_wsgi.settings.ini_file import read_file, split_address

DEFAULT_PORT = 8400


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments, those of the process if not given.
    :returns: the exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["server"]:
        return _server(words[1:])
    return command_line.run(build_parser(), words)


def _demo(arguments: argparse.Namespace) -> int:
    from clef_wsgi import demo  # only where it is run: it loads a browser of its own

    return demo.run(port=arguments.port, check=arguments.check, oidc=arguments.oidc)


def _check(arguments: argparse.Namespace) -> int:
    from clef_wsgi.check import command  # only where it is run

    settings = _settings(arguments)
    how = {"is_live": arguments.live, "as_json": arguments.json, "ca_file": arguments.ca_file}
    return command.run(settings, **how, say=command_line.say)


def _prune(arguments: argparse.Namespace) -> int:
    upkeep.prune(_settings(arguments), command_line.say)
    return 0


def _sign_out(arguments: argparse.Namespace) -> int:
    upkeep.sign_out(_settings(arguments), arguments.user, command_line.say)
    return 0


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.environ:
        return settings_from_environ(os.environ)
    return read_file(*split_address(arguments.settings))


def _server(words: Sequence[str]) -> int:
    from clef_wsgi.server import commands  # an island: nobody else loads any of it

    return commands.main(words)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands, but for what follows ``server``."""
    parser = argparse.ArgumentParser(prog="clef-wsgi", description="Login and single logout for any WSGI app.")
    parser.add_argument("--version", action="version", version=f"clef-wsgi {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_check(commands)
    description = "Drops records of logouts and of sessions that are older than any login may live."
    _add(commands, "prune", _prune, "drop what no living login can need", description)
    description = "Ends logins at their next request, in every browser."
    command = _add(commands, "sign-out", _sign_out, "end one person's logins, or everyone's", description)
    who = command.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help='the person, as in clef.user["id"]')
    who.add_argument("--everyone", action="store_true", help="all logins of everybody")
    # for --help alone: its arguments are read where its commands are
    commands.add_parser("server", help="the self-hosted Clef: run it, and look after its sites and people")
    return parser


def _add_demo(commands: Any) -> None:
    command = commands.add_parser(
        "demo",
        help="try the whole loop on this machine",
        description="Runs a login server and an example site on this machine, to sign in and to log out everywhere.",
    )
    command.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="the login server's port, the site has the next one (default %(default)s; 0 picks two free ones)",
    )
    command.add_argument("--check", action="store_true", help="walk the loop without a browser, then end")
    command.add_argument(
        "--oidc",
        action="store_true",
        help="with npm's oidc-provider in place of the login server; from a clone: make demo ARGS=--oidc",
    )
    command.set_defaults(run=_demo)


def _add_check(commands: Any) -> None:
    description = "Looks at the store, the sessions, the login service, and with --live at the deployed site."
    command = _add(commands, "check", _check, "see whether a deployment is well", description)
    command.add_argument("--live", action="store_true", help="ask the deployed site too")
    command.add_argument("--ca-file", metavar="PEM", help="certificates to trust, instead of the usual authorities")
    command.add_argument("--json", action="store_true", help="print the findings for programs")


def _add(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, description: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("settings", nargs="?", metavar="SETTINGS", help="an INI file, or file.ini#section")
    where.add_argument("--environ", action="store_true", help="take the settings from CLEF_WSGI_... variables")
    command.set_defaults(run=run)
    return command


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65535):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65534")
    return int(text)


def _version() -> str:
    try:
        return version("clef_wsgi")
    except PackageNotFoundError:  # a checkout that is not installed
        return "(not installed)"
