"""Run a command: lines on stdout, each error as one line on stderr, and the exit code.

Exit codes: 0 done, 1 it could not be done, or the thing asked about is not well, 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence

from .errors import ClefError, ConfigurationError

say = functools.partial(print, flush=True)


def run(parser: argparse.ArgumentParser, argv: Sequence[str], *, describe: Callable[[ClefError], str] = str) -> int:
    """Parse the arguments, call their ``run`` with them, and return the exit code.

    :param parser: sets ``run`` as a default of each command; it returns an exit code, or ``None`` for 0.
    :param describe: turns an error that is not the settings' fault into its sentence.
    """
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said why: --help, --version, or wrong usage
        return int(end.code or 0)
    try:
        code: int | None = arguments.run(arguments)
        sys.stdout.flush()
        return code or 0
    except ConfigurationError as error:
        return complain(2, *error.faults)
    except ClefError as error:
        return complain(1, describe(error))
    except BrokenPipeError:  # "... | head" has seen enough
        # Python flushes what is left at its end, and would complain of the same pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return complain(1, f"{error.filename or 'A file'}: {error.strerror}.")
    except KeyboardInterrupt:
        return 1


def complain(code: int, *sentences: str) -> int:
    """Write each sentence as a line on stderr, and return the exit code."""
    sys.stderr.writelines(f"clef-wsgi: {sentence}\n" for sentence in sentences)
    return code
