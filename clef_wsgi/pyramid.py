"""``login_required`` for Pyramid."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.interfaces import IRequest
from pyramid.response import Response

from .login_required import WWW_AUTHENTICATE, View, answer_for, decorator


@decorator
def login_required(view: View) -> Any:
    """Lead a page without a login there and back, and answer 401 to scripts and forms.

    It goes under ``@view_config``, on a function or on a method of a class that keeps its ``request``; or it is
    given as ``decorator=login_required`` to ``view_config``, ``view_defaults`` or ``add_view``, for any view.
    """

    @wraps(view)
    def guarded(*args: Any) -> Any:
        request = args[-1] if IRequest.providedBy(args[-1]) else args[-1].request
        answer = answer_for(request.environ)
        if answer is None:
            return view(*args)
        if isinstance(answer, str):
            return HTTPSeeOther(answer)
        return Response(json=answer, status=401, headerlist=[WWW_AUTHENTICATE, ("Content-Type", "application/json")])

    # Pyramid counts a view's arguments to know whether it takes a context.
    guarded.__signature__ = inspect.signature(view)  # type: ignore[attr-defined]
    return guarded
