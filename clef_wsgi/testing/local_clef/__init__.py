"""``LocalClef`` and the values that go in and out of it. Each idea has a file of its own beside this one."""

from __future__ import annotations

from clef_wsgi.testing.local_clef.book import LocalApp, Person
from clef_wsgi.testing.local_clef.clef import LocalClef
from clef_wsgi.testing.local_clef.deliveries import Delivery
from clef_wsgi.testing.local_clef.script import ApiCall

__all__ = ["ApiCall", "Delivery", "LocalApp", "LocalClef", "Person"]
