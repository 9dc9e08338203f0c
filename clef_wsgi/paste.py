"""Entry points of PasteDeploy: ``use = egg:clef_wsgi`` in a ``[filter:...]`` or ``[filter-app:...]`` section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clef_wsgi.settings import from_settings, load

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def filter_app_factory(app: WSGIApplication, global_conf: Mapping[str, str], **settings: str) -> WSGIApplication:
    """``paste.filter_app_factory``: wrap the app as :func:`~clef_wsgi.from_settings` does."""
    return from_settings(_inside(app), settings)


def filter_factory(global_conf: Mapping[str, str], **settings: str) -> Callable[[WSGIApplication], WSGIApplication]:
    """``paste.filter_factory``: check the settings immediately, and return what wraps an app."""
    site = load(settings)
    return lambda app: site.wrap(_inside(app))


def _inside(app: Any) -> WSGIApplication:
    """Return Flask's WSGI app where a section gives the Flask object: PasteDeploy serves what the pipeline returns."""
    inside: WSGIApplication = getattr(app, "wsgi_app", app)
    return inside
