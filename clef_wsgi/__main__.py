"""``python -m clef_wsgi`` is the command ``clef-wsgi``."""

from __future__ import annotations

import sys

from clef_wsgi.cli import main

if __name__ == "__main__":
    sys.exit(main())
