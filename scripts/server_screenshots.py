"""Take the pictures of the server's pages, with Chromium.

``python scripts/server_screenshots.py FOLDER`` runs a server on a free port, and writes one PNG for each page at
phone and desktop size, in light and dark, in English and German; of a page that is longer than the screen a second
one of all of it. docs/images holds four: ``account-en-390-*`` as ``account-phone-*``, and ``receipts-en-390-*`` as
``receipts-phone-*``. Needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select, update

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.chromium import Page, open_page
from support.login_server import Server, Site
from support.passkeys import enrolled, link

from clef_wsgi.server.clock import SECOND, system_clock
from clef_wsgi.server.database.schema import apps, deliveries, sessions
from clef_wsgi.server.records.people import Person

SIZES = {"390": (390, 844), "1280": (1280, 800)}
SCHEMES = ("light", "dark")
LANGUAGES = ("en", "de")
FIREFOX = "Mozilla/5.0 (Android 16; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"


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
    """Go from page to page as a person would, and yield the name of each."""
    server = page.server
    with server.database.writing() as connection:
        connection.execute(delete(apps))  # those of the language before
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
    yield "account-new"
    page.open("/passkeys")
    page.press("summary")
    yield "passkeys-one"
    enrolled(server, ann)
    sites = live(server, ann, language)
    page.open("/")
    yield "account"
    page.open("/passkeys")
    page.press("li:nth-of-type(2) summary")
    yield "passkeys"
    page.open(f"/iframes/qr?{site.ask()}")
    yield "continue"
    club = server.add_site(f"Club ({language})", callback="https://club.example.com/clef/callback", open_to_all=False)
    page.open(f"/iframes/qr?{club.ask()}")
    yield "not-allowed"
    page.open("/")
    page.press("#you button")
    page.wait("#saved")
    yield "account-saved"
    page.open(f"/enrol#{'x' * 43}")
    page.problem()
    yield "enrol-spent"
    page.open(f"/iframes/qr?{site.ask().replace('photos', 'evil')}")
    yield "error"
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.open("/iframes/switch?" + site.ask())
    yield "no-script"
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    yield from log_out(page, sites)


def log_out(page: Page, sites: list[Site]) -> Iterator[str]:
    """Yield the receipts: some sites confirmed; one down, then given up; at last all confirmed."""
    page.open("/")
    page.press("form[action='/log-out'] button")
    page.wait("#receipts")
    tapped = min(row.created_at for row in page.server.rows(deliveries, deliveries.c.state == "pending"))
    for site, tenths in zip(sites, (4, 7, 0), strict=True):
        if tenths:
            tell(page, site, state="confirmed", done_at=tapped + tenths * SECOND // 10)
        else:
            late = {"failure": "timeout", "first_tried_at": tapped, "next_at": system_clock() + 60 * SECOND}
            tell(page, site, attempts=3, **late)
    page.wait("#receipts .row[data-mark=busy] .why:not(:empty)")
    yield "receipts"
    tell(page, sites[-1], state="given_up")
    page.wait("#receipts[data-mark=bad]")
    yield "receipts-given-up"
    page.open("/")
    page.press("#sign-in button")
    page.wait("form[action='/log-out']")
    yield "account-unheard"
    tell(page, sites[-1], state="pending", next_at=system_clock() + 60 * SECOND)
    page.open(f"/iframes/late?{sites[-1].ask()}")
    yield "late"
    tell(page, sites[-1], state="confirmed", done_at=tapped + 65 * SECOND)
    page.open("/receipts")
    yield "receipts-done"


def live(server: Server, ann: Person, language: str) -> list[Site]:
    """Ann is logged in at three sites, from a second browser."""
    browser = server.browser(signed_in=ann)
    names = {"en": ("Photos", "Wiki", "Tickets"), "de": ("Fotos", "Wiki", "Vereinskasse")}[language]
    sites = []
    with server.database.writing() as connection:
        newest = select(func.max(sessions.c.id)).scalar_subquery()
        values = {"user_agent": FIREFOX, "address": "192.0.2.7"}
        connection.execute(update(sessions).where(sessions.c.id == newest).values(values))
    for name in names:
        host = f"https://{name.lower()}.example.com"
        sites.append(server.add_site(f"{name}", callback=f"{host}/clef/callback", webhooks=[f"{host}/clef/webhook"]))
        server.log_in(sites[-1], browser)
    return sites


def tell(page: Page, site: Site, **values: Any) -> None:
    """Write the result of a delivery into the site's rows."""
    with page.server.database.writing() as connection:
        connection.execute(update(deliveries).where(deliveries.c.app_id == site.app_id).values(values))


def take(page: Page, folder: Path, name: str) -> None:
    """The page as it stands, in every size and scheme."""
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            page.set_size(width, height, scheme=scheme)
            page.driver.save_screenshot(str(folder / f"{name}-{size}-{scheme}.png"))
            whole = page.run("return document.documentElement.scrollHeight;")
            if whole > height:
                page.set_size(width, whole, scheme=scheme)
                page.driver.save_screenshot(str(folder / f"{name}-{size}-{scheme}-whole.png"))


if __name__ == "__main__":
    sys.exit(main())
