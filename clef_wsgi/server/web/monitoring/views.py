"""Serve ``/healthz`` and ``/metrics``: no session, no cookie, no secret.

Anybody may ask whether the server is well. The figures are for the networks of ``--metrics-from``: they say
how many people sign in, and that a site has not confirmed a logout.
"""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

from clef_wsgi.server.errors import DatabaseUnavailable
from clef_wsgi.server.records import backlog
from clef_wsgi.server.web.support.client_address import comes_from
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.pages import PageError

blueprint = Blueprint("operation", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 where the database answers, else 503. A site that is down does not make this server unwell."""
    try:
        with server().database.reading() as connection:
            found = backlog.read(connection, now=server().clock())
    except DatabaseUnavailable as down:
        answer = jsonify(status="unavailable")
        answer.status_code = 503
        answer.headers["Retry-After"] = str(down.retry_after)
        return answer
    return jsonify(status="ok", **({"deliveries": asdict(found)} if _may_see_figures() else {}))


@blueprint.get("/metrics")
def metrics() -> Response:
    """Serve the metrics to Prometheus, and 404 to everybody else."""
    if not _may_see_figures():
        raise PageError("not_found", 404)
    return Response(server().metrics.text(), content_type=CONTENT_TYPE_LATEST)


def _may_see_figures() -> bool:
    options = server().options
    return comes_from(request.environ, options.metrics_networks, options.proxies)
