"""Lead a browser back to a page of the site, and never elsewhere (open redirect, RFC 9700, section 4.11)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from . import http
from .base import urls

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class ReturnAddresses:
    """The return addresses of one site. A page is a path of the site, prefix included; None is the front page.

    :param endpoints: the middleware's own paths, folded: no login leads back to one.
    """

    def __init__(self, site: urls.Site, endpoints: Collection[str]) -> None:
        self._site = site
        self._endpoints = endpoints

    def judged(self, values: Sequence[str | None]) -> str | None:
        """Return the one value, if it is a page of this site."""
        return urls.safe_next(values[0], self._site, self._endpoints) if len(values) == 1 else None

    def page(self, next: str | None) -> str:
        return self._site.prefix + "/" if next is None else next

    def redirect(self, next: str | None) -> WSGIApplication:
        return http.redirect(self._site.origin + self.page(next))
