"""Answer back-channel logout requests: let the provider verify each, and record it once (idempotency key)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from . import events, http, webhook_limit
from .base.errors import LogoutRefused, ProviderUnavailable
from .interfaces import IdentityProvider, LogoutStore, are_keys

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def answer(provider: IdentityProvider, store: LogoutStore, environ: Mapping[str, Any]) -> WSGIApplication:
    """Record the logout that a provider reports.

    :raises LogoutRefused: the form is not well-formed, or the provider did not send it.
    :raises ProviderUnavailable: that can't be told, or the provider makes no sense.
    :raises StoreUnavailable: it could not be recorded.
    """
    if environ["REQUEST_METHOD"] != "POST":
        return http.method_not_allowed("POST")
    form = http.read_form(environ)
    tokens = form.get("logout_token", [])
    limit = getattr(provider, "max_logout_token_length", http.MAX_PARAMETER_LENGTH)
    if len(tokens) != 1 or not http.is_visible(tokens[0], limit):
        sentence = f"A logout holds exactly one logout_token, of at most {limit:,} characters of printable ASCII."
        raise LogoutRefused(sentence, reason="malformed_form")
    bounds_itself = getattr(provider, "bounds_exchanges", False)
    with nullcontext() if bounds_itself else webhook_limit.of_this_process.place():
        logout = provider.read_logout({name: values[-1] for name, values in form.items()})
    if not logout.keys or not are_keys(logout.keys):
        raise ProviderUnavailable("The login service named nobody to log out.", reason="provider_answer")
    is_new = store.record_logout(logout.keys, idempotency_key=logout.idempotency_key)
    outcome, words = ("recorded", "recorded") if is_new else ("known", "known already")
    events.emit("webhook", "a logout was %s", words, outcome=outcome, keys=events.digests(logout.keys))
    return http.json_answer(200, {"success": True})
