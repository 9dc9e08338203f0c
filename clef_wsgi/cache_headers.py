"""Mark each answer for caches, so that nobody is shown a page made for somebody else (RFC 9111, section 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_VARY = ("Vary", "Cookie")
_DOCUMENTS = ("", "text/html", "application/xhtml+xml")


class CacheHeaders:
    """Mark the headers of one request's answer.

    ``is_private``: the answer is for somebody signed in. ``document_cache``: the ``Cache-Control`` of their documents.
    ``must_not_store``: ``no-store``, whatever the app says. ``has_started``: the headers are on their way.
    """

    # Defaults of the class, not of the instance: one is made for every request.
    is_private = False
    document_cache = "private"
    must_not_store = False
    has_started = False

    def pass_on(
        self, start_response: StartResponse, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Call the server's ``start_response`` with a marked copy of the headers (PEP 3333).

        It is handed in, not kept: a cycle with environ would keep it until Python's garbage collector comes.
        """
        self.has_started = True
        is_plain = not (self.is_private or self.must_not_store)
        return start_response(status, _varied(headers) if is_plain else self._marked(status, headers), exc_info)

    def _marked(self, status: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return a copy that says what a cache needs to know (RFC 9111, sections 4.1 and 5.2).

        A copy, since Beaker appends its cookie to the list it gets: an app with one list for all answers would hand
        the cookie of one visitor to the next. ``Vary: Cookie`` always; for somebody signed in, unless the app spoke
        itself, a ``Cache-Control``: ``document_cache`` for what a browser shows as a page and may keep for Back, else
        ``private``; and ``no-store``, whatever the app said, where it must not be kept.
        """
        marked, says_cache = _varied(headers), False
        is_document = not status.startswith("304")
        for name, value in headers:
            # Names are told apart by their length first, since this runs for every header of every answer.
            if len(name) == 13 and name.lower() == "cache-control":
                says_cache = True
            elif len(name) == 12 and name.lower() == "content-type":
                is_document = value.partition(";")[0].strip().lower() in _DOCUMENTS
        if self.must_not_store:
            marked = [header for header in marked if header[0].lower() != "cache-control"]
            marked.append(("Cache-Control", "no-store"))
        elif self.is_private and not says_cache:
            marked.append(("Cache-Control", self.document_cache if is_document else "private"))
        return marked


def _varied(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    for name, value in headers:
        if len(name) == 4 and name.lower() == "vary" and _names_cookie(value):
            return [*headers]
    return [*headers, _VARY]


def _names_cookie(vary: str) -> bool:
    fields = [field.strip().lower() for field in vary.split(",")]
    return "cookie" in fields or "*" in fields
