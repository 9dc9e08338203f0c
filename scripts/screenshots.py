"""Take the pictures of the example site and of the demo's login server, with Chromium.

``python scripts/screenshots.py FOLDER`` runs the demo, walks through it at phone and desktop size, in light and
in dark, and writes one PNG for each page. Needs selenium, chromium and chromedriver. docs/images holds four of
them: ``account-desktop-*`` as ``site-desktop-*``, and ``log-out-phone-*`` as ``provider-phone-*``. The other pages
of the server are in server_screenshots.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import visibility_of_element_located
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.chromium import add_device
from support.services import chromium

from clef_wsgi.demo.processes import Running, running

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
SCHEMES = ("light", "dark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--port", type=int, default=8400, help="the demo's (default %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with running(arguments.port) as demo, chromium() as browser:
        for page in walk(browser, demo):
            take(browser, page, arguments.folder)
    return 0


def walk(browser: Chrome, demo: Running) -> Iterator[str]:
    """Go from page to page as a person would who first makes a passkey, and yield the name of each page."""
    add_device(browser)
    browser.get(demo.server_url)
    yield "demo"
    browser.get(demo.invitation)
    press(browser, "#enrol:not([hidden]) button")
    log_out(browser)
    browser.get(demo.site_url)
    yield "welcome"
    press(browser, "main .clef-login")
    seen(browser, "#sign-in")
    yield "sign-in"
    press(browser, "#sign-in button")
    seen(browser, "form[action$='/clef/logout']")
    yield "signed-in"
    browser.get(f"{demo.site_url}/account")
    yield "account"
    browser.get(demo.server_url)
    yield "log-out"
    log_out(browser)
    browser.get(demo.site_url)
    while browser.find_elements(By.CSS_SELECTOR, "form[action$='/clef/logout']"):
        browser.refresh()
    yield "let-go"


def log_out(browser: Chrome) -> None:
    press(browser, "form[action='/log-out'] button")
    seen(browser, "body:not(:has(form[action='/log-out']))")


def press(browser: Chrome, selector: str) -> None:
    seen(browser, selector).click()


def seen(browser: Chrome, selector: str) -> WebElement:
    """The element, once it is there and to be seen."""
    where = (By.CSS_SELECTOR, selector)
    return WebDriverWait(browser, 20, poll_frequency=0.05).until(visibility_of_element_located(where))


def take(browser: Chrome, page: str, folder: Path) -> None:
    """The page as it stands, in every size and scheme."""
    for size, (width, height) in SIZES.items():
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for scheme in SCHEMES:
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            browser.save_screenshot(str(folder / f"{page}-{size}-{scheme}.png"))


if __name__ == "__main__":
    sys.exit(main())
