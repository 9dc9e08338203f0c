"""Build the parser of ``clef-wsgi server`` from its commands."""

from __future__ import annotations

import argparse

from clef_wsgi.server.commands import apps, audit, backup, deliveries, importing, invite, people, run

_COMMANDS = (run, apps, invite, importing, people, deliveries, audit, backup)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. What it parses has ``run``, which takes it."""
    parser = argparse.ArgumentParser(
        prog="clef-wsgi server",
        description="A Clef of one's own: people sign in to their sites with a passkey.",
        epilog="Exit codes: 0 done, 1 it could not be done, 2 wrong usage or settings.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_to(commands)
    return parser
