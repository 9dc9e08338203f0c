"""Takes the pictures of the server's pages, with Chromium.

``python scripts/server_screenshots.py FOLDER`` runs a server on a free port, and writes one PNG for each page at
phone and desktop size, in light and dark, in English and German. Needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))

from browser_kit import Page, open_page
from passkey_kit import enrolled, link

SIZES = {"390": (390, 844), "1280": (1280, 800)}
SCHEMES = ("light", "dark")
LANGUAGES = ("en", "de")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, open_page(Path(data)) as page:
        page.driver.execute_cdp_cmd("Network.enable", {})
        for language in LANGUAGES:
            headers = {"Accept-Language": language}
            page.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": headers})
            for name in walk(page, language):
                take(page, folder, f"{name}-{language}")
    return 0


def walk(page: Page, language: str) -> Iterator[str]:
    """Goes from page to page as a person would; yields the name of each."""
    server = page.server
    site = server.add_site(f"Photos ({language})", callback="https://photos.example.com/clef/callback")
    page.driver.delete_all_cookies()
    page.driver.remove_all_credentials()
    page.open(f"/iframes/qr?{site.ask()}")
    yield "sign-in"
    page.press("#sign-in button")  # there is no passkey yet
    page.problem()
    yield "sign-in-problem"
    ann = server.add_person("Ann", last_name="Lee", email=f"ann.{language}@example.com")
    page.open(f"/enrol#{link(server, ann)}")
    page.wait("#enrol:not([hidden])")
    yield "enrol"
    page.press("#enrol button")
    page.wait("form[action='/log-out']")
    yield "account"
    page.open("/passkeys")
    yield "passkeys-one"
    enrolled(server, ann)
    page.open("/passkeys")
    page.press("li:nth-of-type(2) summary")
    yield "passkeys"
    page.open(f"/iframes/qr?{site.ask()}")
    yield "continue"
    page.open(f"/enrol#{'x' * 43}")
    page.problem()
    yield "enrol-spent"
    page.open(f"/iframes/qr?{site.ask().replace('photos', 'evil')}")
    yield "error"
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.open("/iframes/switch?" + site.ask())
    yield "no-script"
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def take(page: Page, folder: Path, name: str) -> None:
    """The page as it stands, in every size and scheme."""
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            page.set_size(width, height, scheme=scheme)
            page.driver.save_screenshot(str(folder / f"{name}-{size}-{scheme}.png"))


if __name__ == "__main__":
    sys.exit(main())
