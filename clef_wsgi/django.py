"""``login_required`` for Django."""

from __future__ import annotations

from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from .login_required import WWW_AUTHENTICATE, View, answer_for, decorator


class _SeeOther(HttpResponseRedirect):  # type: ignore[misc]  # Django ships no types
    status_code = 303


@decorator
def login_required(view: View) -> Any:
    """Lead a page without a login there and back, and answer 401 to scripts and forms.

    It goes on a function or a method, sync or async; around a whole class-based view in urls.py:
    ``login_required(AccountView.as_view())``.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        answer = _answer(args)
        return view(*args, **kwargs) if answer is None else answer

    @wraps(view)
    async def guarded_async(*args: Any, **kwargs: Any) -> Any:
        answer = _answer(args)
        return await view(*args, **kwargs) if answer is None else answer

    return guarded_async if _is_async(view) else guarded


def _is_async(view: Any) -> bool:
    """Return whether a view is awaited: ``dispatch`` under ``method_decorator`` is, where its class is async."""
    owner = getattr(getattr(view, "func", None), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(owner, "view_is_async", False))


def _answer(args: tuple[Any, ...]) -> HttpResponse | None:
    request = args[0] if isinstance(args[0], HttpRequest) else args[1]  # behind a method's self
    answer = answer_for(request.META)  # which is environ
    if answer is None:
        return None
    return (
        _SeeOther(answer)
        if isinstance(answer, str)
        else JsonResponse(answer, status=401, headers=dict([WWW_AUTHENTICATE]))
    )
