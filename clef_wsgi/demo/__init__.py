"""Run ``clef-wsgi demo``: a login server and a site on this machine, to try by hand or to walk through by itself.

processes.py starts the two, walk.py is the walk.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from clef_wsgi.base.command_line import say
from clef_wsgi.demo.processes import DemoError, Running, child_command, running
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


def run(
    *,
    port: int,
    check: bool,
    say: Callable[[str], object] = say,
    command: Callable[[str], list[str]] = child_command,
) -> int:
    """Run the demo until it is interrupted; with ``check`` walk the loop once instead.

    :param port: the server's; the site has the next one. 0 picks two free ones.
    :param say: takes each line.
    :param command: what runs the ``server`` and the ``site``.
    :returns: the exit code: 0 when all went well, 1 at the first step of the walk that did not.
    :raises DemoError: it can't run, or one of the two ended by itself.
    """
    # "kill" ends the demo as Ctrl-C does
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running(port, command) as demo:
            return walk(demo.server_url, demo.site_url, say) if check else _serve(demo, say)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 1 if check else 0
    finally:
        signal.signal(signal.SIGTERM, previous)


def _serve(demo: Running, say: Callable[[str], object]) -> int:
    say(WHAT_TO_DO.format(site_url=demo.site_url, server_url=demo.server_url, invitation=demo.invitation))
    while True:
        demo.check_alive()
        time.sleep(0.2)  # of two processes, the first that ends is looked for
