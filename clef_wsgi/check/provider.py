"""The login service: it answers, and takes this site for the one it knows.

A code that no service gave is turned down in one way by a service that knows the site, and in another by one
that does not. Knows nothing of any wire protocol.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from clef_wsgi._paths import parse_site
from clef_wsgi.check.findings import About, Finding
from clef_wsgi.errors import LoginRefused, ProviderUnavailable
from clef_wsgi.settings import Deployment

PROVIDER = About("provider")
_REMEDIES = {
    "provider_refused_app": "Copy both again from the login service; look for spaces around them.",
    "provider_timeout": "See that this machine reaches it, through provider.proxy_url if there is a proxy.",
    "provider_tls": "Mend its certificate, or name yours in provider.ca_file.",
    "provider_answer": "Let provider.server_url be its own address, with nothing in front that redirects.",
}


def findings(deployment: Deployment) -> Iterator[Finding]:
    """What there is to say of the login service."""
    callback = str(deployment.options.get("callback_path", "/clef/callback"))
    redirect_url = parse_site(deployment.options["base_url"]).url(callback)
    try:
        deployment.provider.finish_login({"code": f"check-{secrets.token_hex(16)}"}, {}, redirect_url)
    except LoginRefused:
        yield PROVIDER.ok("The login service answers, and accepts this site's id and secret.")
    except ProviderUnavailable as error:
        remedy = _REMEDIES.get(error.reason, "See that it runs, and that this machine reaches it.")
        yield PROVIDER.error(error.message, remedy)
    except Exception as error:  # noqa: BLE001  a provider of somebody's own
        yield PROVIDER.warning(
            f"The provider fails with a code that nobody gave ({type(error).__name__}).",
            "Let its finish_login raise LoginRefused or ProviderUnavailable.",
        )
    else:
        yield PROVIDER.error("The provider lets somebody in with a code that nobody gave.", "Don't use it.")
