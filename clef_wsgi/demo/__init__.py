"""Run ``clef-wsgi demo``: a login server and a site on this machine, to try by hand or to walk through by itself.

processes.py starts the two, walk.py is the walk.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable

from clef_wsgi.base.command_line import say
from clef_wsgi.demo.browser import BUTTON
from clef_wsgi.demo.openid_provider import OPENID_PROVIDER
from clef_wsgi.demo.processes import DemoError, LoginServer, Running, child_command, clef_settings, running
from clef_wsgi.demo.walk import walk

__all__ = ["DemoError", "run", "walk"]

WHAT_TO_DO = """\
  The site         {site_url}   <- open this in a browser
  The login server {server_url}

  1. At the site, press "Log in", then "Continue as the demo person".
  2. At the login server, press "Log out everywhere".
  3. Reload the site: it has let go of you.

The login server is the real one. To sign in with a passkey of your own, make it with this link, which works once:

  {invitation}

The passkey is for this demo alone: remove it later where your device keeps passkeys.
Ctrl-C ends the demo.
"""


CLEF_SERVER = LoginServer(
    command=child_command, settings=clef_settings, extras={}, login_form=BUTTON, what_to_do=WHAT_TO_DO
)


def run(
    *,
    port: int,
    check: bool,
    oidc: bool = False,
    say: Callable[[str], object] = say,
    command: Callable[[str], list[str]] | None = None,
) -> int:
    """Run the demo until it is interrupted; with ``check`` walk the loop once instead.

    :param port: the server's; the site has the next one. 0 picks two free ones.
    :param oidc: runs an OpenID provider in place of the Clef server.
    :param say: takes each line.
    :param command: what runs the ``server`` and the ``site``.
    :returns: the exit code: 0 when all went well, 1 at the first step of the walk that did not.
    :raises DemoError: it can't run, or one of the two ended by itself.
    """
    server = OPENID_PROVIDER if oidc else CLEF_SERVER
    server = dataclasses.replace(server, command=command or server.command)
    # "kill" ends the demo as Ctrl-C does
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running(port, server.command, settings=server.settings, extras=server.extras) as demo:
            if check:
                addresses = demo.server_url, demo.site_url
                return walk(*addresses, say, login_form=server.login_form, logout_form=server.logout_form)
            return _serve(demo, server.what_to_do, say)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 1 if check else 0
    finally:
        signal.signal(signal.SIGTERM, previous)


def _serve(demo: Running, what_to_do: str, say: Callable[[str], object]) -> int:
    say(what_to_do.format(site_url=demo.site_url, server_url=demo.server_url, invitation=demo.invitation))
    while True:
        demo.check_alive()
        time.sleep(0.2)  # of two processes, the first that ends is looked for
