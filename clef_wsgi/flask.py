"""``login_required`` for Flask."""

from __future__ import annotations

from functools import wraps
from typing import Any

from flask import current_app, make_response, redirect, request

from .login_required import WWW_AUTHENTICATE, View, answer_for, decorator


@decorator
def login_required(view: View) -> Any:
    """Lead a page without a login there and back, and answer 401 to scripts and forms.

    It goes under ``@app.route``, on a function or a method; for a whole class-based view it is in its list
    ``decorators``. The view may be async.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        answer = answer_for(request.environ)
        if answer is None:
            return current_app.ensure_sync(view)(*args, **kwargs)
        return redirect(answer, 303) if isinstance(answer, str) else make_response(answer, 401, [WWW_AUTHENTICATE])

    return guarded
