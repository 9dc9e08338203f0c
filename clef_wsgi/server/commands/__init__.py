"""``clef-wsgi server ...``: the administrator's command line.

Turns what went wrong into sentences on stderr, and into exit codes: 0 done, 1 it could not be done, 2 wrong
usage or settings. Knows nothing of single commands; loads nothing beyond the standard library before it runs.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

from clef_wsgi.server.errors import ConfigurationError, ServerError

EXTRAS = ("flask", "prometheus_client", "segno", "sqlalchemy", "waitress", "webauthn")


def main(argv: Sequence[str]) -> int:
    """Runs one command.

    :param argv: what follows ``clef-wsgi server``.
    :returns: the exit code.
    """
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        return _complain(1, f'The server needs {" and ".join(missing)}: pip install "clef_wsgi[server]"')
    from clef_wsgi.server.commands.parser import build_parser  # only now, since it loads the extra

    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why: --help, or wrong usage
        return int(end.code or 0)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except ConfigurationError as error:
        return _complain(2, *error.faults)
    except ServerError as error:
        return _complain(1, f"{error}{_reason(error)}")
    except BrokenPipeError:  # "... | head" has seen enough
        # Python flushes what is left at its end, and would complain of the same pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(1, f"{error.filename or 'A file'}: {error.strerror}.")
    except KeyboardInterrupt:
        return 1
    return 0


def _complain(code: int, *sentences: str) -> int:
    sys.stderr.writelines(f"clef-wsgi: {sentence}\n" for sentence in sentences)
    return code


def _reason(error: ServerError) -> str:
    """What the database itself said, where it said something: here it goes to no visitor."""
    said = str(getattr(error.__cause__, "orig", None) or "").partition("\n")[0]
    return f" It says: {said}" if said else ""
