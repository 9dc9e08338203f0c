"""Start, watch and end the demo's two processes together. What they run is in __main__.py."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import clef_wsgi
from clef_wsgi.base.errors import ClefError

PACKAGE = Path(clef_wsgi.__file__).parent

LISTENER = "CLEF_DEMO_LISTENER"
"""The variable in which a process of the demo finds the number of its listening socket."""


class DemoError(ClefError):
    """The demo can't run, or ended by itself. The message is one sentence for people."""


@dataclass(frozen=True)
class LoginServer:
    """A login server that the demo can run.

    ``command`` is what runs the ``server`` and the ``site``; ``settings`` makes their environment from the addresses
    of both. ``extras`` are modules that it needs, with the extra that brings each. ``login_form`` begins the address of
    the form that logs the demo person in; ``logout_form`` that of the form which ends the server's own session, where a
    logout at the site leads there.
    """

    command: Callable[[str], list[str]]
    settings: Callable[[str, str], Mapping[str, str]]
    extras: Mapping[str, str]
    login_form: str
    what_to_do: str
    logout_form: str | None = None


@dataclass(frozen=True)
class Running:
    """The demo while it runs. ``invitation`` is the link with which the demo person can make a passkey."""

    server_url: str
    site_url: str
    invitation: str = field(repr=False)
    _children: dict[str, subprocess.Popen[str]]

    def check_alive(self) -> None:
        """:raises DemoError: one of the two ended by itself."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise DemoError(f"The {name} ended by itself, so the demo ends too.")


def clef_settings(server_url: str, site_url: str) -> dict[str, str]:
    """Return the settings of the site, and of the Clef server that knows it."""
    return {
        "CLEF_WSGI_PROVIDER": "clef",
        "CLEF_WSGI_PROVIDER__SERVER_URL": server_url,
        "CLEF_WSGI_PROVIDER__APP_ID": secrets.token_hex(16),
        "CLEF_WSGI_PROVIDER__APP_SECRET": secrets.token_hex(16),
    }


def child_command(name: str) -> list[str]:
    """Return the command that runs the ``server`` or the ``site``."""
    return [sys.executable, "-m", "clef_wsgi.demo", name]


@contextmanager
def running(
    port: int,
    command: Callable[[str], list[str]] = child_command,
    *,
    settings: Callable[[str, str], Mapping[str, str]] = clef_settings,
    extras: Mapping[str, str] | None = None,
    end_timeout_seconds: float = 3.0,
) -> Iterator[Running]:
    """Run both processes for as long as the block runs.

    :param port: the server's; the site has the next one. 0 picks two free ones.
    :param command: what to run for each name. It serves at the socket that :data:`LISTENER` names, says
        ``ready``, the server with its invitation after it, and ends when its standard input does.
    :param settings: the environment of both, made from the server's address and the site's.
    :param extras: modules that are needed beside the server's, and the extra that brings each.
    :param end_timeout_seconds: how long it may take to end, before it is killed.
    :raises DemoError: an extra is missing, a port is taken, or one of the two does not start.
    """
    _check_extras(extras or {})
    find_example()
    with ExitStack() as stack:
        with _listening(port) as listeners:
            urls = {name: f"http://localhost:{it.getsockname()[1]}" for name, it in listeners.items()}
            environ = {
                **settings(urls["server"], urls["site"]),
                "CLEF_WSGI_BASE_URL": urls["site"],
                "CLEF_WSGI_SESSION__SECRET": secrets.token_urlsafe(32),
            }
            children = {
                name: stack.enter_context(_child(command(name), environ, listener, end_timeout_seconds))
                for name, listener in listeners.items()
            }
        said = {name: _await_ready(name, child) for name, child in children.items()}
        yield Running(urls["server"], urls["site"], said["server"], children)


def find_example() -> Path:
    """Find the example site: inside an installed package, or beside the package in a checkout.

    :raises DemoError: it is in neither place.
    """
    for folder in (PACKAGE / "examples", PACKAGE.parent / "examples"):
        if (folder / "flask_app.py").is_file():
            return folder / "flask_app.py"
    raise DemoError("The example site, examples/flask_app.py, is missing: install clef_wsgi again.")


def _check_extras(more: Mapping[str, str]) -> None:
    from clef_wsgi.server.commands import EXTRAS  # here, since no other command needs it

    needed = {**dict.fromkeys(EXTRAS, "server"), **more}
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ", ".join(dict.fromkeys(needed.values()))
        raise DemoError(f'The demo needs {" and ".join(missing)}: pip install ".[{extras}]" in its clone')


@contextmanager
def _listening(port: int) -> Iterator[dict[str, socket.socket]]:
    """Open a listening socket for each of the two, so that nobody takes a port between a look at it and its use."""
    with ExitStack() as stack:
        listeners = {}
        for name, number in (("server", port), ("site", port + 1 if port else 0)):
            listener = listeners[name] = stack.enter_context(socket.socket())
            # as servers do: a connection that just ended does not count
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", number))
                listener.listen()
            except OSError as error:
                raise DemoError(
                    f"Port {number} can't be used ({os.strerror(error.errno or 0)}): "
                    "end what uses it, or choose another with --port."
                ) from error
        yield listeners


@contextmanager
def _child(
    command: list[str], settings: dict[str, str], listener: socket.socket, end_timeout_seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """Start one of the two, with ``listener`` under the number that :data:`LISTENER` gives."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLEF_WSGI_")}
    with subprocess.Popen(  # noqa: S603  # the command is ours
        command,
        stdin=subprocess.PIPE,  # its end tells the child to end, even if this process is killed
        stdout=subprocess.PIPE,
        text=True,
        env={**inherited, **settings, LISTENER: str(listener.fileno()), "PYTHONPATH": path},
        pass_fds=[listener.fileno()],
        start_new_session=True,  # Ctrl-C reaches this process alone
    ) as child:
        try:
            yield child
        finally:
            _end(child, end_timeout_seconds)


def _await_ready(name: str, child: subprocess.Popen[str]) -> str:
    """Wait for ``ready``, and return what follows it."""
    word, _, rest = (child.stdout.readline() if child.stdout else "").rstrip("\n").partition(" ")
    if word != "ready":
        raise DemoError(f"The {name} did not start.")
    return rest


def _end(child: subprocess.Popen[str], timeout_seconds: float) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
