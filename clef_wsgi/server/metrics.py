"""Metrics for Prometheus: counters of this process, and gauges from the database.

Each server has a registry of its own. Every label comes from a closed list: the names of refusals and of
outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from clef_wsgi.server.clock import Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.errors import DatabaseUnavailable, Refused
from clef_wsgi.server.records import backlog, outbox

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 72 * 3600)


class Metrics:
    """The counters of one server, in this process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._registry = CollectorRegistry()
        self._logins = Counter("clef_server_logins", "Logins that a site exchanged", registry=self._registry)
        self._refusals = Counter("clef_server_refusals", "Requests refused", ["reason"], registry=self._registry)
        self._deliveries = Counter(
            "clef_server_deliveries", "Attempts to deliver a logout to a site", ["outcome"], registry=self._registry
        )
        self._seconds = Histogram(
            "clef_server_delivery_seconds",
            "From a logout to the site's confirmation",
            buckets=SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Backlog(database, clock))

    def logged_in(self) -> None:
        """Count a code that a site exchanged."""
        self._logins.inc()

    def refused(self, reason: str | type[Refused]) -> None:
        """Count a refused request, by the key of its error page or the class of its refusal."""
        name = reason if isinstance(reason, str) else re.sub(r"(?<!^)(?=[A-Z])", "_", reason.__name__).lower()
        self._refusals.labels(name).inc()

    def delivered(self, outcome: str, seconds_since_tap: float) -> None:
        """Count an attempt, by the outbox's word for how it went."""
        self._deliveries.labels(outcome).inc()
        if outcome == outbox.CONFIRMED:
            self._seconds.observe(seconds_since_tap)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """Serve the metrics over HTTP meanwhile, from threads of their own.

        :raises OSError: the address can't be listened on.
        """
        server, thread = start_http_server(port, host, registry=self._registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Backlog(Collector):
    """Gauges of the database: the same from every process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: no query is made at registration."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        try:
            with self._database.reading() as connection:
                found = backlog.read(connection, now=self._clock())
        except DatabaseUnavailable:
            yield _gauge("database_up", "Whether the database answers", 0)
            return
        yield _gauge("database_up", "Whether the database answers", 1)
        yield _gauge("deliveries_pending", "Notifications not confirmed yet", found.pending)
        yield _gauge("deliveries_given_up", "Notifications that are tried no more", found.given_up)
        yield _gauge("delivery_oldest_seconds", "Age of the oldest pending notification", found.oldest_seconds)
        yield _gauge(
            "delivery_overdue_seconds", "How long a notification is due without an attempt", found.overdue_seconds
        )


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"clef_server_{name}", help, value=value)
