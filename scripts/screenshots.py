"""Takes the pictures of the example site and of the provider's pages, with Chromium.

``python scripts/screenshots.py FOLDER`` runs the demo, walks through it at phone and desktop size, in light and
in dark, and writes one PNG for each page. Needs selenium, chromium and chromedriver. docs/images holds four of
them: ``account-desktop-*`` as ``site-desktop-*``, and ``log-out-phone-*`` as ``provider-phone-*``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from services import chromium

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
    """Goes from page to page as a person would; yields the name of each."""
    browser.get(demo.site_url)
    yield "welcome"
    press(browser, "main .clef-login")
    yield "approve"
    press(browser, "button[name=person]")
    yield "signed-in"
    browser.get(f"{demo.site_url}/account")
    yield "account"
    browser.get(demo.provider_url)
    yield "log-out"
    press(browser, "button[name=person]")
    yield "logged-out"
    browser.get(demo.site_url)
    yield "let-go"


def press(browser: Chrome, selector: str) -> None:
    browser.find_element(By.CSS_SELECTOR, selector).click()


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
