"""``login_required`` for Bottle."""

from __future__ import annotations

import json
from functools import wraps
from typing import Any

from bottle import HTTPResponse, request

from .login_required import WWW_AUTHENTICATE, View, answer_for, decorator


@decorator
def login_required(view: View) -> Any:
    """Lead a page without a login there and back, and answer 401 to scripts and forms.

    It goes under ``@app.route``, on a function or a method; ``app.install(login_required)`` is for all routes.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        answer = answer_for(request.environ)
        if answer is None:
            return view(*args, **kwargs)
        if isinstance(answer, str):
            return HTTPResponse(status=303, headers={"Location": answer})
        headers = dict([WWW_AUTHENTICATE, ("Content-Type", "application/json")])
        return HTTPResponse(json.dumps(answer), status=401, headers=headers)

    return guarded
