"""Settings to paste into a relying party. The secret stands there once, and elsewhere the file that holds it."""

from __future__ import annotations

from clef_wsgi.server.records.apps import App

SECRET_FILE = "/run/secrets/clef"

_NEW = """\
{name} is added.

  app id   {app_id}
  secret   {secret}

{advice}

Python:

    from pathlib import Path

    from clef_wsgi import ClefProvider

    provider = ClefProvider(
        app_id="{app_id}",
        app_secret=Path("{file}").read_text().strip(),
        server_url="{server_url}",
        signed_tokens=True,
    )

INI:

    provider = clef
    provider.server_url = {server_url}
    provider.app_id = {app_id}
    provider.app_secret_file = {file}
    provider.signed_tokens = true

When the site runs, see whether it understands a logout:

    clef-wsgi server app test {app_id}"""

_ONCE = f"""\
The secret is shown this once. Put it into a file that the site alone can read,
{SECRET_FILE} for instance. A Clef client in another language takes the same three values."""

_KEPT = f"The secret is the one that the site has: put it into {SECRET_FILE} for instance."

_ROTATED = """\
{name} has a new secret, shown this once. The one before goes on working.

  secret   {secret}

Put it into the site's file, on a line of its own above the old one, and have each process read it anew.

Python, while both work:

    app_secret=Path("{file}").read_text().splitlines()

INI, as before:

    provider.app_secret_file = {file}

When every process of the site has the new one:

    clef-wsgi server app rotate-secret {app_id} --end

With signed_tokens the site keeps the old one in its list for three days more: notifications that are
still under way bear its signature."""


def for_new_app(app: App, secret: str | None, server_url: str) -> str:
    """Return a new site's settings; ``secret`` is ``None`` where the site has it already."""
    return _NEW.format(
        name=app.name,
        app_id=app.id,
        secret=secret or "as before",
        advice=_ONCE if secret else _KEPT,
        file=SECRET_FILE,
        server_url=server_url,
    )


def for_rotation(app: App, secret: str) -> str:
    """Return a site's second secret, and the next steps of the rotation."""
    return _ROTATED.format(name=app.name, app_id=app.id, secret=secret, file=SECRET_FILE)
