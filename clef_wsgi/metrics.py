"""Count events for Prometheus, the same that stand in the log (docs/operating.md lists both).

    from clef_wsgi import metrics

    metrics.install()

Needs the extra ``metrics``. Every label comes from a closed list, so that no visitor can make new series.
The site serves the figures as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import events
from .base.errors import ConfigurationError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_LOGGING_IN = (
    "state_mismatch state_expired cookies_blocked malformed_callback access_denied provider_error code_rejected "
    "claim_rejected logged_out_meanwhile login_refused on_login_failed wrong_callback_address login_required "
    "interaction_required consent_required wrong_issuer not_allowed claims_elsewhere userinfo_subject "
    "account_selection_required"
)
_LOGGING_OUT = (
    "logout_refused token_not_signed cross_origin not_a_form malformed_form form_too_long length_required wrong_address"
)
_TOKENS = (
    "token_malformed token_algorithm token_header token_type token_signature token_issuer token_audience token_expired "
    "token_issued_at token_subject token_nonce token_at_hash token_auth_time token_event token_jti"
)
_NOT_THERE = (
    "webhook_busy provider_unavailable provider_timeout provider_tls provider_refused_app provider_answer "
    "session_unavailable store_unavailable issuer_mismatch provider_metadata provider_keys userinfo_signed"
)
REASONS = frozenset(f"{_LOGGING_IN} {_LOGGING_OUT} {_TOKENS} {_NOT_THERE}".split())
"""The reasons that are labels of their own: those of docs/errors.md. An app's own ones count as ``other``."""

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600)

_installed: list[Any] = []


def install(registry: CollectorRegistry | None = None) -> None:
    """Count the events of all middlewares of this process from now on. A second call for one registry does nothing.

    :param registry: Prometheus' own default one, if not given.
    :raises ConfigurationError: the extra is missing.
    """
    try:
        import prometheus_client  # here, since the extra is needed by nobody else
    except ModuleNotFoundError as error:
        raise ConfigurationError('Counters need an extra: pip install ".[metrics]" in its clone.') from error
    target = prometheus_client.REGISTRY if registry is None else registry
    if target not in _installed:
        events.observers.append(_Counters(target))
        _installed.append(target)


class _Counters:
    """Count events, as one of their observers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Histogram

        self._logins = Counter("clef_wsgi_logins", "Logins that were written", registry=registry)
        self._refusals = Counter("clef_wsgi_refusals", "Requests refused", ["reason"], registry=registry)
        self._webhooks = Counter("clef_wsgi_webhooks", "Logout notifications", ["outcome"], registry=registry)
        self._sign_outs = Counter("clef_wsgi_sign_outs_noticed", "Logins found ended", ["reason"], registry=registry)
        self._store_errors = Counter("clef_wsgi_store_errors", "Store or session not there", registry=registry)
        self._provider_errors = Counter("clef_wsgi_provider_errors", "Login service not there", registry=registry)
        self._seconds = Histogram(
            "clef_wsgi_logout_seconds",
            "From a logout's record to the first request refused for it",
            buckets=SECONDS,
            registry=registry,
        )

    def __call__(self, content: Mapping[str, Any]) -> None:
        """Count one event."""
        event = content["event"]
        if event == "login":
            self._logins.inc()
        elif event == "webhook":
            self._webhooks.labels(content["outcome"]).inc()
        elif event == "sign_out_noticed":
            self._sign_outs.labels(content["reason"]).inc()
            if content["seconds"] is not None:
                self._seconds.observe(content["seconds"])
        elif "reason" in content:
            self._count_trouble(event, content)

    def _count_trouble(self, event: str, content: Mapping[str, Any]) -> None:
        self._refusals.labels(content["reason"] if content["reason"] in REASONS else "other").inc()
        if event == "store_error":
            self._store_errors.inc()
        elif event == "provider_error":
            self._provider_errors.inc()
        if content["endpoint"] == "webhook":
            self._webhooks.labels("refused" if event == "refusal" else "unavailable").inc()
