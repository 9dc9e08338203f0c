"""Make the WSGI app of the login server from its rooms."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from clef_wsgi.server.clock import Clock, system_clock
from clef_wsgi.server.database import settings
from clef_wsgi.server.database.migrations import open_database
from clef_wsgi.server.delivery.worker import Worker, user_agent
from clef_wsgi.server.metrics import Metrics
from clef_wsgi.server.options import Limits, Options
from clef_wsgi.server.records.pruning import prune
from clef_wsgi.server.web.account import logout
from clef_wsgi.server.web.account import views as account
from clef_wsgi.server.web.authorization import button
from clef_wsgi.server.web.authorization import views as authorization
from clef_wsgi.server.web.monitoring import views as monitoring
from clef_wsgi.server.web.passkeys import enrolment, sign_in
from clef_wsgi.server.web.passkeys import views as passkeys
from clef_wsgi.server.web.receipts import views as receipts
from clef_wsgi.server.web.site_api import views as site_api
from clef_wsgi.server.web.support import context, guard, pages
from clef_wsgi.server.web.support.rate_limit import Limiter

PRUNED_AT_START = 10
"""Steps of pruning before the first request; the rest is left to the worker."""

_ROOMS = (site_api, authorization, account, logout, receipts, sign_in, enrolment, passkeys, button, monitoring)
"""Modules with views, each of which has its ``blueprint``."""


def create_app(
    *,
    origin: str,
    database: str | Path,
    rp_id: str | None = None,
    name: str = "Clef",
    logo: str | Path | None = None,
    templates: str | Path | None = None,
    trusted_proxy: str | Iterable[str] = (),
    metrics_from: str | Iterable[str] = (),
    keep_audit: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    clock: Clock = system_clock,
    deliver: context.Deliver = True,
) -> Flask:
    """Make the login server as a WSGI app. Its database is created, or migrated, before this returns.

    :param origin: its public address, such as ``https://login.example.com``; plain http on ``localhost`` only.
        Redirects, cookies and passkeys go by it, never by ``Host``.
    :param database: a file (SQLite) or ``postgresql://user@host/name``.
    :param rp_id: the WebAuthn RP id: the host of ``origin`` (the default) or a parent of it. It can't be changed later.
    :param name: what the pages call this server.
    :param logo: a picture for the top of the pages.
    :param templates: a folder whose templates replace those of the same name.
    :param trusted_proxy: addresses or networks of proxies whose ``X-Forwarded-For`` is believed; ``unix`` for
        a socket in the file system.
    :param metrics_from: addresses or networks that may read ``/metrics``, and the figures of ``/healthz``: nobody
        by default.
    :param keep_audit: how long an audit entry is kept, such as ``400d``; for ever by default.
    :param limits: the rate limits.
    :param clock: returns microseconds since 1970.
    :param deliver: whether a thread of this process delivers logouts, from the first request on; ``"elsewhere"`` if
        ``clef-wsgi server deliver`` does it; False if nobody does.
    :raises ConfigurationError: with everything that is wrong.
    :raises DatabaseUnavailable: the database can't be reached.
    """
    options = Options(
        origin=origin,
        database=database,
        rp_id=rp_id,
        name=name,
        logo=logo,
        templates=templates,
        trusted_proxy=trusted_proxy,
        metrics_from=metrics_from,
        keep_audit=keep_audit,
        limits=limits,
    )
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    opened = open_database(options.database)
    try:
        with opened.writing() as connection:
            settings.fix_rp_id(connection, options.passkey_domain, host=options.host)
            settings.write(connection, settings.ORIGIN, options.origin)
        prune(opened, now=clock(), steps=PRUNED_AT_START)
    finally:
        opened.close()  # a server that forks after this shares no connection
    metrics = Metrics(opened, clock)
    worker = Worker(
        opened,
        clock,
        user_agent=user_agent(options.origin),
        observe=metrics.delivered,
        keep_audit_us=options.keep_audit_us,
    )
    app.extensions[context.KEY] = context.ServerContext(
        options, opened, clock, Limiter(limits, clock), metrics, worker, deliver
    )
    if deliver is True:
        app.before_request(worker.start)  # not before: a server that forks after this would lose the thread
    app.url_map.merge_slashes = False  # no address is corrected by a redirect: a client would lose its POST
    guard.install(app)
    pages.install(app, options)
    app.register_error_handler(HTTPException, _http_error)
    for room in _ROOMS:
        app.register_blueprint(room.blueprint)
    return app


def _http_error(problem: HTTPException) -> Response:
    """Answer what the framework refused: to the API's clients in its own words, to people as a page."""
    answer = site_api.error if request.path.startswith(guard.API) else pages.status_page
    response = answer(problem.code or 500)
    response.headers.extend([header for header in problem.get_headers() if header[0] == "Allow"])
    return response
