"""Test a wrapped application: log in and out with a test client, run a Clef on loopback.

Nothing here is imported by the rest of the package.
"""

from __future__ import annotations

from clef_wsgi.testing.clients import log_out_everywhere, sign_in, sign_out
from clef_wsgi.testing.fake_provider import FakeProvider
from clef_wsgi.testing.local_clef import ApiCall, Delivery, LocalApp, LocalClef, Person
from clef_wsgi.testing.request import environ

__all__ = [
    "ApiCall",
    "Delivery",
    "FakeProvider",
    "LocalApp",
    "LocalClef",
    "Person",
    "environ",
    "log_out_everywhere",
    "sign_in",
    "sign_out",
]
