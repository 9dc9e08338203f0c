"""Make the demo's server: the real one, on a new database, with one site, one invited person, and the demo's button.

demo/__main__.py serves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask

from clef_wsgi.demo.button import add_button, check_place
from clef_wsgi.server import create_app
from clef_wsgi.server.records import apps, enrolments, people
from clef_wsgi.server.web.support.context import KEY

PERSON = {"first_name": "Ann", "last_name": "Archer", "email": "ann@example.com"}


@dataclass(frozen=True)
class DemoServer:
    """The app, and the link with which the demo person can make a real passkey."""

    app: Flask
    invitation: str = field(repr=False)

    def close(self) -> None:
        """Stop the delivery worker, and close the database."""
        shared = self.app.extensions[KEY]
        shared.worker.stop()
        shared.database.close()


def make_demo_server(*, origin: str, site_url: str, app_id: str, app_secret: str, database: Path) -> DemoServer:
    """Make a server for this machine alone.

    :param origin: its address, such as ``http://localhost:8400``.
    :param site_url: the one site's; it is told of logouts.
    :param app_id: 32 lowercase hex digits, for the site; ``app_secret`` likewise.
    :param database: a file that does not exist yet.
    :raises DemoError: ``origin`` is not this machine's own.
    """
    app = create_app(origin=origin, database=database, name="Clef, the demo")
    check_place(app)  # before anything is opened that had to be closed
    shared = app.extensions[KEY]
    now = shared.clock()
    with shared.database.writing() as connection:
        apps.add(
            connection,
            name="Tidewater",
            redirect_urls=[f"{site_url}/clef/callback"],
            webhooks=[f"{site_url}/clef/webhook"],
            allow_private=True,
            app_id=app_id,
            secret=app_secret,
            now=now,
        )
        person = people.add(connection, now=now, **PERSON)
        secret = enrolments.issue(connection, person.id, purpose=enrolments.INVITE, now=now)
    add_button(app, person_id=person.id, secret=secret)
    return DemoServer(app, f"{origin}/enrol#{secret}")
