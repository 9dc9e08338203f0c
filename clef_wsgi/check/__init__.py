"""Check a deployment, one file for each part of it. Each yields findings: a sentence with severity and remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clef_wsgi.check import live, provider, session, store
from clef_wsgi.check.findings import Finding
from clef_wsgi.settings import load
from clef_wsgi.upkeep import closing_store


def findings(settings: Mapping[str, str], *, is_live: bool, ca_file: str | None = None) -> Iterator[Finding]:
    """Yield the findings about a deployment, as they are made.

    :param settings: texts, as for :func:`clef_wsgi.from_settings`.
    :param is_live: asks the deployed site too, and believes the certificates in ``ca_file`` if there is one.
    :raises ConfigurationError: with every fault of the settings.
    :raises StoreUnavailable: the store has to be asked at the start, and can't be.
    """
    with closing_store(load(settings)) as deployment, closing_store(load(settings)) as other:
        yield from store.findings(settings, deployment.logout_store, other.logout_store)
        yield from session.findings(settings, deployment)
        yield from provider.findings(deployment)
        if is_live:
            yield from live.findings(deployment, ca_file)
