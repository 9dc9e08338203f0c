"""Find the server that a request belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

from flask import current_app, request

from clef_wsgi.server.clock import Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.delivery.expedite import Expediter
from clef_wsgi.server.delivery.worker import Worker
from clef_wsgi.server.metrics import Metrics
from clef_wsgi.server.options import Options
from clef_wsgi.server.web.support.client_address import client_address
from clef_wsgi.server.web.support.rate_limit import Limiter

KEY = "clef"
Deliver = bool | Literal["elsewhere"]


@dataclass(frozen=True)
class ServerContext:
    """Shared by all requests. ``clock()`` is in microseconds; ``deliver`` says where logouts are delivered.

    ``other_hosts`` were logged already.
    """

    options: Options
    database: Database
    clock: Clock
    limiter: Limiter
    metrics: Metrics
    worker: Worker
    deliver: Deliver
    other_hosts: set[str] = field(default_factory=set)
    expediter: Expediter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expediter", Expediter(self.database, self.clock, self.deliver_soon))

    def deliver_soon(self) -> None:
        """Wake the worker after the commit of a logout. Harmless where others deliver, or nobody."""
        if self.deliver is True:
            self.worker.wake()


def server() -> ServerContext:
    """Return the server of the request at hand."""
    return cast("ServerContext", current_app.extensions[KEY])


def request_address() -> str:
    """Return the client address of the request at hand, behind a trusted proxy or not."""
    return client_address(request.environ, server().options.proxies)
