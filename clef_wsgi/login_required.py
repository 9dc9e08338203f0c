"""Answer a request that needs a login: shared by ``protect``, ``challenge`` and each ``login_required``."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Protocol, TypeVar, overload

from . import http

WWW_AUTHENTICATE = ("WWW-Authenticate", "Clef")
"""The header of every 401 (RFC 9110, section 11.6.1): a scheme of no browser's, so that none asks for a password."""

_NOT_WRAPPED = (
    "There is no clef.user in environ: this request did not come through clef_wsgi. Serve what wrap() returned. "
    "Flask: app.wsgi_app = wrap(app.wsgi_app, ...). Bottle: bottle.run(app=wrap(app, ...)). Django, in wsgi.py: "
    "application = wrap(get_wsgi_application(), ...)."
)
_IGNORED = "This path is under `ignore`, where nobody is ever signed in: take it out, or take login_required off."

View = TypeVar("View", bound=Callable[..., Any])


class Decorator(Protocol):
    """A decorator that is written with or without parentheses."""

    @overload
    def __call__(self, view: View) -> View: ...
    @overload
    def __call__(self) -> Callable[[View], View]: ...


def answer_for(environ: dict[str, Any]) -> str | dict[str, str] | None:
    """Decide how a request that needs a login is answered; the answer is marked ``no-store``.

    :returns: None where somebody is signed in; for a page the login's absolute address, to be sent there by 303
        (RFC 9110, section 15.4.4); for a script, and for a form that a page sends, the JSON body of a 401.
    :raises RuntimeError: the request did not come through the middleware, or is under ``ignore``.
    """
    if "clef.user" not in environ:
        raise RuntimeError(_NOT_WRAPPED)
    if environ["clef.user"] is not None:
        return None
    login = environ["clef.login"]
    if login.is_ignored:
        raise RuntimeError(_IGNORED)
    login.forbid_storing()
    address: str = login.url()
    if http.is_page(environ):
        return address
    return {"error": "login_required", "message": "Please log in first.", "login_url": address}


def decorator(guard: Callable[[Any], Any]) -> Decorator:
    """Let a decorator be written ``@login_required`` and ``@login_required()``, and refuse a class under it."""

    def login_required(view: Any = None) -> Any:
        if view is None:
            return login_required
        if isinstance(view, type):
            raise TypeError(f"login_required goes on a view, and {view.__name__} is a class. {guard.__doc__}")
        return guard(view)

    return update_wrapper(login_required, guard)
