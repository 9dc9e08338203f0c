"""The objects that the docs assume: the reader's own app, and the site around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import webtest

import clef_wsgi

BASE_URL = "https://www.example.com"
SERVER_URL = "https://login.example.com"
SECRET = "a secret for tests alone, 32 bytes or more"
DEPLOYED = {"gunicorn": ["gunicorn"], "uwsgi": ["uwsgi", "--ini", "uwsgi.ini"], "wsgi_file": []}
"""The blocks of docs/deploying.md that are run as files, and the command that runs each."""
RELOADS = {"gunicorn": "gunicorn_reload", "uwsgi": "uwsgi_reload"}
"""The blocks that bring new code to those two."""
DJANGO_FILES = {
    "django_settings": "mysite/settings.py",
    "django_middleware": "mysite/middleware.py",
    "django_urls": "mysite/urls.py",
    "django_staff": "staff.py",
}
"""The blocks of docs/frameworks.md that are the files of one Django site."""


def my_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The reader's own app, where a page speaks of one: says who is signed in."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(environ["clef.user"]).encode()]


def settings(*, app_id: str = "0" * 32, app_secret: str = SECRET, server_url: str = SERVER_URL) -> dict[str, Any]:
    """Return the options that README calls ``settings``, all in memory."""
    return {
        "provider": clef_wsgi.ClefProvider(app_id=app_id, app_secret=app_secret, server_url=server_url),
        "logout_store": clef_wsgi.MemoryLogoutStore(),
        "base_url": BASE_URL,
        "session": {"secret": SECRET},
    }


def visitor(**options: Any) -> webtest.TestApp:
    """Somebody's browser at the reader's app; ``options`` go over :func:`settings`."""
    return webtest.TestApp(clef_wsgi.wrap(my_app, **{**settings(), **options}))


TEXTS = {
    "base_url": BASE_URL,
    "provider": "clef",
    "provider.server_url": SERVER_URL,
    "provider.app_id": "0" * 32,
    "provider.app_secret": SECRET,
    "store": "memory",
    "session.secret": SECRET,
}
"""The same as text."""


def in_environ(texts: dict[str, str]) -> dict[str, str]:
    """Return the settings as environment variables, as docs/settings.md names them."""
    return {"CLEF_WSGI_" + name.upper().replace(".", "__"): text for name, text in texts.items()}
