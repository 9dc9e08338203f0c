"""External needs of the tests: the example site, a served app, a browser; and the messages when one is missing."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from types import ModuleType
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest

from clef_wsgi.demo.processes import find_example

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement
    from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--ignore-certificate-errors",
)


def require(name: str, found: bool, how: str) -> None:
    """Skip the test when something is missing; where nothing may be skipped, conftest.py makes that a failure.

    :param name: what is needed.
    :param found: whether it is there.
    :param how: a sentence that says how to get it.
    """
    if not found:
        pytest.skip(f"{name} is missing: {how}")


def load_example() -> ModuleType:
    """The module of examples/flask_app.py, from where the demo takes it."""
    spec = importlib.util.spec_from_file_location("flask_app", find_example())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


class _Threads(ThreadingMixIn, WSGIServer):
    """A thread for each connection. ``server_close`` waits for what is being answered, and for nobody who is silent.

    A browser opens connections before it needs them: their threads would wait for a request as long as it runs.
    """

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):  # it ended meanwhile
                connection.shutdown(socket.SHUT_RD)  # an answer that is under way still goes out
        super().server_close()


@contextmanager
def served(make_app: Callable[[str], Any], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An app over real HTTP on a free port.

    :param make_app: makes it from its own public address.
    :param tls: whose certificate is shown; without it the address is plain http.
    :returns: that address.
    """
    with _Threads(("127.0.0.1", 0), _Quiet) as server:
        url = f"{'https' if tls else 'http'}://localhost:{server.server_port}"
        if tls:  # the handshake is the connection's own thread's
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.set_app(make_app(url))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A headless Chromium with a profile of its own."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require("Chromium", bool(binary and driver), "install the packages chromium and chromium-driver.")
    require("selenium", importlib.util.find_spec("selenium") is not None, 'pip install ".[dev]"')
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield browser
        finally:
            browser.quit()


def waiting(browser: Chrome, seconds: float = 20) -> WebDriverWait[Chrome]:
    """A wait that goes on while one page makes room for another, which chromedriver does not always call stale."""
    from selenium.common import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=0.02, ignored_exceptions=[WebDriverException])


def once_seen(browser: Chrome, selector: str) -> WebElement:
    """The element, as soon as it is there and can be seen."""
    from selenium.webdriver.support.expected_conditions import visibility_of_element_located

    return waiting(browser).until(visibility_of_element_located(("css selector", selector)))


def click(browser: Chrome, selector: str) -> None:
    """Click a link to another page, and wait until that page is there."""
    from selenium.webdriver.support.expected_conditions import staleness_of

    left = once_seen(browser, selector)
    left.click()
    waiting(browser).until(staleness_of(left))
    waiting(browser).until(lambda _: browser.execute_script("return document.readyState") == "complete")


def waiting_until(found: Callable[[], Any], describe: Callable[[], str], seconds: float = 20) -> Any:
    """Ask until the answer is true; an error means: not yet.

    :raises TimeoutError: it did not become true, with what ``describe`` says.
    """
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while True:
        with suppress(Exception):
            if answer := found():
                return answer
        if time.monotonic() > deadline:
            raise TimeoutError(describe())
        pause.wait(0.03)
