"""Check the provider: it has to answer, and to know this site.

Only a provider can prove that, by its ``check_peer``: a refused code says nothing of the site's own secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from clef_wsgi.base.errors import LoginRefused, ProviderUnavailable
from clef_wsgi.check.findings import ERROR, OK, WARNING, About, Finding
from clef_wsgi.interfaces import IdentityProvider
from clef_wsgi.settings import Deployment

PROVIDER = About("provider")
_REMEDIES = {
    "provider_refused_app": "Copy both again from the login service; look for spaces around them.",
    "provider_timeout": "See that this machine reaches it, through provider.proxy_url if there is a proxy.",
    "provider_tls": "Mend its certificate, or name yours in provider.ca_file.",
    "provider_answer": "Let its address in the settings be its own, with nothing in front that redirects.",
    "issuer_mismatch": "Write provider.issuer as its metadata has it; a slash at its end counts.",
    "provider_metadata": "Open provider.issuer + /.well-known/openid-configuration in a browser.",
    "provider_keys": "Let it publish RSA keys of 2,048 bits or more, P-256 or Ed25519 at its jwks_uri.",
}


def findings(deployment: Deployment) -> Iterator[Finding]:
    """Yield the findings about the provider."""
    options = deployment.checked
    paths = (options.callback_path, options.webhook_path, options.logout_path)
    redirect_url, webhook, logout = map(options.site.url, paths)
    if hasattr(deployment.provider, "end_login"):
        yield PROVIDER.ok(f"To be registered at the provider as the address to come back to after a logout: {logout}")
        yield PROVIDER.ok(f"To be registered at the provider as the address for back-channel logout: {webhook}")
    look = _checked if hasattr(deployment.provider, "check_peer") else _unproven
    try:
        yield from look(deployment.provider, redirect_url)
        yield from _logout_findings(deployment)
    except ProviderUnavailable as error:
        remedy = _REMEDIES.get(error.reason, "See that it runs, and that this machine reaches it.")
        yield PROVIDER.error(error.message, remedy)
    except Exception as error:  # noqa: BLE001  a provider of somebody's own
        yield PROVIDER.warning(
            f"The provider can't be checked: it fails ({type(error).__name__}).",
            "Let its methods raise LoginRefused or ProviderUnavailable, and nothing else.",
        )


def _logout_findings(deployment: Deployment) -> Iterator[Finding]:
    """Yield a warning where logins may outlive a logout at a provider that reports none."""
    provider: Any = deployment.provider
    if not hasattr(provider, "advertises_logout") or provider.advertises_logout():
        return
    if deployment.checked.max_login_age > timedelta(days=1).total_seconds():
        yield PROVIDER.warning(
            "The provider does not say that it supports back-channel logout, and logins last longer than a day here.",
            "Log out there once and see whether it ends the login here; else set max_login_age to 1d or less.",
        )
    else:
        yield PROVIDER.ok("The provider does not say that it supports back-channel logout: max_login_age ends logins.")


def _checked(provider: Any, redirect_url: str) -> Iterator[Finding]:
    """Ask the provider itself."""
    found = [Finding(PROVIDER.name, *told) for told in provider.check_peer(redirect_url)]
    if not found or any(one.severity not in (OK, WARNING, ERROR) for one in found):
        raise ValueError("check_peer gives findings: severity, sentence, remedy")
    yield from found


def _unproven(provider: IdentityProvider, redirect_url: str) -> Iterator[Finding]:
    """Try a code that nobody gave: that it is refused proves nothing, any other outcome is trouble."""
    try:
        provider.finish_login({"code": f"check-{secrets.token_hex(16)}"}, {}, redirect_url)
    except LoginRefused:
        yield PROVIDER.warning(
            f"Whether the login service knows this site can't be told: {type(provider).__name__} has no check_peer.",
            "Log in once by hand; or give the provider a check_peer.",
        )
    else:
        yield PROVIDER.error("The provider lets somebody in with a code that nobody gave.", "Don't use it.")
