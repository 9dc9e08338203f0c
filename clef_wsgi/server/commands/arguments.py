"""Add commands to the parser, and the arguments that several of them take. Their types are in words.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeAlias

from clef_wsgi.server.commands import words

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], None]


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
        "--origin", type=words.site_url, metavar="URL", help='the server\'s public address, if "server run" never ran'
    )


def add_for_app(group: Commands, name: str, run: Run, help: str) -> argparse.ArgumentParser:
    """Add a command that is about one app."""
    parser = add_command(group, name, run, help)
    parser.add_argument("app", metavar="APP", help="its name or id")
    return parser


def add_for_person(group: Commands, name: str, run: Run, help: str) -> argparse.ArgumentParser:
    """Add a command that is about one person."""
    parser = add_command(group, name, run, help)
    parser.add_argument("person", metavar="PERSON", help="a number or an e-mail address")
    return parser
