"""``clef-wsgi server ...``: the administrator's command line.

Errors become sentences on stderr, and exit codes: 0 done, 1 it could not be done, 2 wrong usage or settings.
Loads nothing beyond the standard library before a command runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from clef_wsgi.base import command_line
from clef_wsgi.base.errors import ClefError

EXTRAS = ("flask", "prometheus_client", "segno", "sqlalchemy", "waitress", "webauthn")


def main(argv: Sequence[str]) -> int:
    """Run one command.

    :param argv: what follows ``clef-wsgi server``.
    :returns: the exit code.
    """
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        return command_line.complain(
            1, f'The server needs {" and ".join(missing)}: pip install ".[server]" in its clone'
        )
    from clef_wsgi.server.commands.parser import build_parser  # only now, since it loads the extra

    return command_line.run(build_parser(), argv, describe=_described)


def _described(error: ClefError) -> str:
    """Add what the database itself said, where it said something: here it goes to no visitor."""
    said = str(getattr(error.__cause__, "orig", None) or "").partition("\n")[0]
    return f"{error} It says: {said}" if said else str(error)
