"""How a view finds the server it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from clef_wsgi.server.clock import Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.options import Options
from clef_wsgi.server.web.limits import Limiter

KEY = "clef"


@dataclass(frozen=True)
class Server:
    """What all requests share. ``clock()`` is in microseconds."""

    options: Options
    database: Database
    clock: Clock
    limiter: Limiter


def server() -> Server:
    """The server of the request at hand."""
    return cast("Server", current_app.extensions[KEY])
