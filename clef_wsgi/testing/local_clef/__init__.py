"""``LocalClef``, a login service on loopback for tests, as a WSGI application; and its values."""

from __future__ import annotations

from clef_wsgi.testing.local_clef.clef import LocalClef
from clef_wsgi.testing.local_clef.notifications import Delivery
from clef_wsgi.testing.local_clef.records import LocalApp, Person
from clef_wsgi.testing.local_clef.scripted_answers import ApiCall

__all__ = ["ApiCall", "Delivery", "LocalApp", "LocalClef", "Person"]
