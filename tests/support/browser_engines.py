"""Chromium, Firefox and WebKit, each with a profile of its own, behind the few verbs that tests need.

Chromium and WebKitGTK are driven through Selenium. Firefox is driven over Marionette, its own protocol (JSON over
TCP), which needs no program beside the browser and has a virtual authenticator. WebKitGTK has no WebAuthn.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from support.ports import await_listening, free_port
from support.services import chromium, require, waiting_until

FIREFOX_FLAGS = ("--headless", "--marionette", "-remote-allow-system-access", "--no-remote")
FIREFOX_SETTINGS = {
    "security.webauth.webauthn_enable_softtoken": True,
    "security.webauth.webauthn_enable_usbtoken": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.disabledForTesting": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
}
WEBKIT = "/usr/lib/*/webkit2gtk-4.1/MiniBrowser"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "isUserConsenting": True,
}


class Driver(Protocol):
    """The part of Selenium's driver that these tests use."""

    def get(self, url: str) -> None: ...

    def execute_script(self, script: str, *arguments: Any) -> Any: ...

    def click(self, selector: str) -> None: ...

    def add_cookie(self, cookie: dict[str, Any]) -> None: ...

    def delete_all_cookies(self) -> None: ...

    def set_window_size(self, width: int, height: int) -> None: ...

    def add_authenticator(self) -> None: ...


class Engine:
    """A browser, and what a person does in it."""

    def __init__(self, name: str, driver: Driver) -> None:
        self.name = name
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page, and wait until it is complete."""
        self.driver.get(url)
        self._complete()

    def press(self, selector: str) -> None:
        """Click on an element that is there and can be used, and wait for whatever page follows."""
        self.wait(selector)
        self.driver.click(selector)
        self._complete()

    def back(self) -> None:
        """Go back, as the button does. The driver's own command ends WebKit's session where another origin follows."""
        self.run("window.isLeft = true; setTimeout(() => history.back());")
        self.until(lambda: not self.run("return window.isLeft"), "another page")
        self._complete()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    @property
    def url(self) -> str:
        return str(self.run("return location.href"))

    @property
    def text(self) -> str:
        """The text that a person reads."""
        return str(self.run("return document.body ? document.body.innerText : ''"))

    def wait(self, selector: str) -> None:
        """Wait until an element is there, seen and not disabled."""
        script = (
            "const found = document.querySelector(arguments[0]);"
            "return !!found && found.getClientRects().length > 0 && !found.disabled;"
        )
        self.until(lambda: self.run(script, selector), selector)

    def until(self, found: Callable[[], Any], what: str, *, seconds: float = 20) -> Any:
        """Ask again and again, while pages make room for others, until the answer is true."""
        return waiting_until(found, lambda: f"{what}, in {self.name} on {self.url}: {self.text[-600:]}", seconds)

    def _complete(self) -> None:
        self.until(lambda: self.run("return document.readyState") == "complete", "a complete page")


ENGINES = ("chromium", "firefox", "webkit")


@contextmanager
def engine(name: str) -> Iterator[Engine]:
    """A browser of one of the :data:`ENGINES`, until the end of the block."""
    make = {"chromium": _chromium, "firefox": _firefox, "webkit": _webkit}[name]
    with make() as driver:
        driver.set_window_size(1280, 900)
        yield Engine(name, driver)


# -- Chromium and WebKit, through Selenium ----------------------------------------------------------------


class _Selenium:
    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.get, self.execute_script = driver.get, driver.execute_script
        self.add_cookie, self.delete_all_cookies = driver.add_cookie, driver.delete_all_cookies
        self.set_window_size = driver.set_window_size

    def click(self, selector: str) -> None:
        self._driver.find_element("css selector", selector).click()

    def add_authenticator(self) -> None:
        from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

        given = {"has_resident_key": True, "has_user_verification": True, "is_user_verified": True}
        self._driver.add_virtual_authenticator(
            VirtualAuthenticatorOptions(protocol="ctap2", transport="internal", is_user_consenting=True, **given)
        )


@contextmanager
def _chromium() -> Iterator[Driver]:
    with chromium() as driver:
        yield _Selenium(driver)


@contextmanager
def _webkit() -> Iterator[Driver]:
    binary = next(iter(sorted(Path("/").glob(WEBKIT.lstrip("/")))), None)
    program = shutil.which("WebKitWebDriver")
    require("WebKitGTK", bool(binary and program), "install the packages webkit2gtk-driver and libwebkit2gtk-4.1-0.")
    require("Xvfb", bool(shutil.which("Xvfb")), "install the package xvfb.")
    from selenium import webdriver
    from selenium.webdriver.webkitgtk.service import Service

    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(binary)
    options.add_argument("--automation")
    options.set_capability("acceptInsecureCerts", True)
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        display = stack.enter_context(_display())
        places = {"HOME": home, "XDG_CACHE_HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
        environ = {**os.environ, **places, "DISPLAY": display, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1"}
        service = Service(program, port=free_port(), env=environ)
        browser = webdriver.WebKitGTK(options=options, service=service)
        try:
            yield _Selenium(browser)
        finally:
            browser.quit()


@contextmanager
def _display() -> Iterator[str]:
    """A screen of one's own, by its name."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as screen:
        os.close(writer)
        try:
            with os.fdopen(reader) as named:
                yield ":" + named.readline().strip()
        finally:
            screen.terminate()


# -- Firefox, over Marionette -----------------------------------------------------------------------------


class _Marionette:
    """A client of Marionette: ``LENGTH:[0, id, command, parameters]`` out, ``LENGTH:[1, id, error, result]`` back."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._number = 0
        self._read()  # its greeting
        self.ask("WebDriver:NewSession", {"acceptInsecureCerts": True})

    def ask(self, command: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self._read()
        if error is not None:
            raise LookupError(f"{command}: {error['error']}: {error['message']}")
        return result

    def _read(self) -> Any:
        length = b""
        while (digit := self._stream.read(1)) != b":":
            if not digit:
                raise ConnectionError("Firefox ended")
            length += digit
        return json.loads(self._stream.read(int(length)))

    def get(self, url: str) -> None:
        self.ask("WebDriver:Navigate", {"url": url})

    def execute_script(self, script: str, *arguments: Any) -> Any:
        return self.ask("WebDriver:ExecuteScript", {"script": script, "args": list(arguments), "sandbox": None})[
            "value"
        ]

    def click(self, selector: str) -> None:
        found = self.ask("WebDriver:FindElement", {"using": "css selector", "value": selector})["value"]
        self.ask("WebDriver:ElementClick", {"id": next(iter(found.values()))})

    def add_cookie(self, cookie: dict[str, Any]) -> None:
        self.ask("WebDriver:AddCookie", {"cookie": cookie})

    def delete_all_cookies(self) -> None:
        self.ask("WebDriver:DeleteAllCookies", {})

    def set_window_size(self, width: int, height: int) -> None:
        self.ask("WebDriver:SetWindowRect", {"width": width, "height": height})

    def add_authenticator(self) -> None:
        self.ask("WebAuthn:AddVirtualAuthenticator", AUTHENTICATOR)


@contextmanager
def _firefox() -> Iterator[Driver]:
    binary = shutil.which("firefox-esr") or shutil.which("firefox")
    require("Firefox", binary is not None, "install the package firefox-esr.")
    port = free_port()
    settings = {**FIREFOX_SETTINGS, "marionette.port": port}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        profile = Path(home, "profile")
        profile.mkdir()
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items()]
        (profile / "user.js").write_text("".join(lines))
        command = [str(binary), *FIREFOX_FLAGS, "--profile", str(profile)]
        environ, quiet = {**os.environ, "HOME": home}, subprocess.DEVNULL
        with subprocess.Popen(command, env=environ, stdout=quiet, stderr=quiet) as program:
            try:
                await_listening(port, is_alive=lambda: program.poll() is None)
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    yield _Marionette(connection)
            finally:
                with suppress(ProcessLookupError):
                    program.terminate()
