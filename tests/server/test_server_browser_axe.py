"""Every page of the server before axe-core, small and large, light and dark, in both languages: no finding.

``scripts/axe.sh`` installs axe-core.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from support.chromium import Page, open_page
from support.passkeys import enrolled, link
from support.services import require
from test_server_browser_pages import READY, fill_account, receipt

from clef_wsgi.server.records import logouts

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """
const done = arguments[0];
axe.run(document, {resultTypes: ["violations"]}).then(
  (found) => done(found.violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html).join(" ")}`)),
  (error) => done([String(error)]));
"""


FRONT_PAGE = "front page"
"""The one that nobody signed in sees."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require("axe-core", AXE.exists(), "scripts/axe.sh")
    with open_page(tmp_path_factory.mktemp("server")) as page:
        page.driver.execute_cdp_cmd("Network.enable", {})
        yield page


@pytest.fixture(scope="module")
def pages(page: Page) -> dict[str, str]:
    """The address of each page. Who is signed in has two passkeys, sites, and a receipt with a line of each kind."""
    server = page.server
    ann, bo = server.add_person("Ann", last_name="Lee", email="ann@example.com"), server.add_person("Bo")
    page.enrol(ann)
    enrolled(server, ann)
    fill_account(server, ann)
    page.driver.add_cookie({"name": f"clef-receipt-{server.origin.rpartition(':')[2]}", "value": receipt(server, ann)})
    site = server.add_site("Photographs", callback="https://photos.family.example.com/clef/callback")
    club = server.add_site("Club", callback="https://club.example.com/clef/callback", open_to_all=False)
    late = server.add_site("Calendar")
    server.log_in(late, server.browser(signed_in=ann))
    with server.database.writing() as connection:
        logouts.log_out_of_app(connection, ann.id, late.app_id, now=server.clock())
    return {
        "sign in": f"/iframes/switch?{site.ask()}",
        "continue": f"/iframes/qr?{site.ask()}",
        "not allowed": f"/iframes/qr?{club.ask()}",
        "enrol": f"/enrol#{link(server, bo)}",
        "spent link": f"/enrol#{'x' * 43}",
        "passkeys": "/passkeys?saved=1",
        "account": "/?saved=names",
        "receipts": "/receipts",
        "late": f"/iframes/late?{late.ask()}",
        "error": "/iframes/qr?app_id=1",
        "not found": "/nothing",
        FRONT_PAGE: "/",
    }


def test_axe_is_at_work(page: Page, pages: dict[str, str]) -> None:
    """What the account page had, a form that is a group, is a finding."""
    page.open(pages["account"])
    page.wait("#stay")
    page.run(AXE.read_text(encoding="utf-8"))
    page.run("document.querySelector('#stay form').setAttribute('role', 'group');")
    assert [each.partition(":")[0] for each in page.driver.execute_async_script(RUN)] == ["aria-allowed-role"]


@contextmanager
def without_cookies(page: Page) -> Iterator[None]:
    kept = page.driver.get_cookies()
    page.driver.delete_all_cookies()
    yield
    for cookie in kept:
        page.driver.add_cookie(cookie)


@pytest.mark.parametrize("language", ["en", "de"])
def test_axe_finds_nothing(page: Page, pages: dict[str, str], language: str) -> None:
    """No finding of axe-core, whatever its rule or weight."""
    page.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}})
    source = AXE.read_text(encoding="utf-8")
    found: dict[tuple[str, int, str], list[str]] = {}
    for name, path in pages.items():
        with without_cookies(page) if name == FRONT_PAGE else nullcontext():
            page.open(path)
        page.wait({**READY, "late": "#late button", FRONT_PAGE: "body:not(:has(#stay)) h1"}.get(name, "h1"))
        page.run("for (const each of document.querySelectorAll('details')) { each.open = true; }")
        page.run(source)
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                page.set_size(width, scheme=scheme)
                found[name, width, scheme] = page.driver.execute_async_script(RUN)
    assert {where: [re.sub(r"\s+", " ", each) for each in said] for where, said in found.items() if said} == {}
