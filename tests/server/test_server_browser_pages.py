"""The pages as people with other eyes and hands meet them, and the login button on a site's page, in Chromium."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from sqlalchemy import update
from support.chromium import Page, open_page
from support.login_server import WEBHOOK, Server
from support.passkeys import enrolled, link

from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.records import logouts, receipts
from clef_wsgi.server.records.people import Person

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("server")) as page:
        yield page


@pytest.fixture(scope="module")
def pages(page: Page) -> dict[str, str]:
    """The address of each page; whoever is signed in has two passkeys and a long name."""
    server = page.server
    ann = server.add_person("Annabel-Marie-Christine", last_name="Lee-Featherstonehaugh", email="ann@example.com")
    page.enrol(ann)
    enrolled(server, ann)
    fill_account(server, ann)
    page.driver.add_cookie({"name": f"clef-receipt-{server.origin.rpartition(':')[2]}", "value": receipt(server, ann)})
    site = server.add_site("Photographs of the whole family", callback="https://photos.family.example.com/callback")
    return {
        "sign in": f"/iframes/switch?{site.ask()}",
        "continue": f"/iframes/qr?{site.ask()}",
        "enrol": f"/enrol#{link(server, ann)}",
        "spent link": f"/enrol#{'x' * 43}",
        "passkeys": "/passkeys",
        "account": "/",
        "receipts": "/receipts",
        "error": "/iframes/qr?app_id=1",
    }


def fill_account(server: Server, ann: Person) -> None:
    """Log ann in at two sites."""
    browser = server.browser(signed_in=ann)
    for name in ("Wiki", "The accounts of the association of allotment gardeners"):
        server.log_in(server.add_site(name, callback="https://accounts.gardeners.example.com/callback"), browser)


def receipt(server: Server, ann: Person) -> str:
    """Return the secret of a receipt with one line of each kind: confirmed, pending, given up, no webhook."""
    browser, now = server.browser(signed_in=ann), server.clock()
    kinds: dict[str, dict[str, Any]] = {
        "Photos": {"state": "confirmed", "done_at": now + 400_000},
        "Tickets": {"failure": "timeout", "first_tried_at": now, "next_at": now + 3600_000_000},
        "Shop": {"state": "given_up", "failure": "http_500", "first_tried_at": now},
        "Old": {},
    }
    sites = [server.add_site(name, webhooks=[WEBHOOK] if kinds[name] else []) for name in kinds]
    for site in sites:
        server.log_in(site, browser)
    with server.database.writing() as connection:
        for site in sites:
            logouts.log_out_of_app(connection, ann.id, site.app_id, now=now)
        app_ids = [site.app_id for site in sites]
        secret = receipts.issue(connection, ann.id, scope=receipts.EVERYWHERE, app_ids=app_ids, now=now)
        for site, values in zip(sites, kinds.values(), strict=True):
            if values:
                connection.execute(update(deliveries).where(deliveries.c.app_id == site.app_id).values(values))
    return secret


READY = {"enrol": "#enrol:not([hidden])", "spent link": "#problem:not(:empty)"}

CONTRAST = """
const rgba = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const ground = (el) => {
  for (let at = el; at; at = at.parentElement) {
    const color = rgba(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] > 0) { return color; }
  }
  return [255, 255, 255];
};
const within = arguments[0] || document.body;
const found = [];
for (const el of within.querySelectorAll("*")) {
  const shown = el.checkVisibility() && !el.closest(".unseen");
  const own = [...el.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
  if (shown && (own || el.tagName === "INPUT")) {
    found.push([el.textContent || el.value, ratio(rgba(getComputedStyle(el).color), ground(el)), 4.5]);
  }
  if (shown && ["INPUT", "BUTTON"].includes(el.tagName)) {
    found.push([el.tagName, ratio(rgba(getComputedStyle(el).borderTopColor), ground(el.parentElement)), 3]);
  }
}
return found;
"""

NAMELESS = """
const shown = [...document.querySelectorAll("input:not([type=hidden]), button, a, summary, img")];
return shown.filter((el) => el.checkVisibility()).filter((el) => {
  if (el.tagName === "IMG") { return el.getAttribute("alt") === null; }
  const named = el.labels && el.labels.length ? el.labels[0].textContent : el.textContent;
  return !named.trim();
}).map((el) => el.outerHTML);
"""

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;"


def each(page: Page, pages: dict[str, str], language: str) -> Iterator[str]:
    """Open page after page."""
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}})
    for name, path in pages.items():
        page.open(path)
        page.wait(READY.get(name, "h1"))
        page.run("for (const each of document.querySelectorAll('details')) { each.open = true; }")
        assert page.run("return document.documentElement.lang") == language
        yield name


def test_contrast(page: Page, pages: dict[str, str]) -> None:
    """Text has a contrast of 4.5 or more to its ground, the edge of fields and buttons 3, in light and in dark."""
    for name in each(page, pages, "en"):
        for scheme in ("light", "dark"):
            page.set_size(390, scheme=scheme)
            found = page.run(CONTRAST)
            assert len(found) > 2, name
            assert [(what, ratio) for what, ratio, least in found if ratio < least] == [], (name, scheme)


def test_small_and_large(page: Page, pages: dict[str, str]) -> None:
    """Nothing goes off the side at 320 px, at a zoom of 200 %, and with letters of twice the size."""
    for name in each(page, pages, "de"):  # the longer words
        page.set_size(320)
        assert page.run(OVERFLOW) <= 0, name
        page.set_size(640, 400, scale=2)
        assert page.run(OVERFLOW) <= 0, name
        page.run("document.documentElement.style.fontSize = '200%';")
        assert page.run(OVERFLOW) <= 0, name
        cut = "return [...document.querySelectorAll('button')].filter((b) => b.scrollWidth > b.clientWidth + 1).length;"
        assert page.run(cut) == 0, name


BROKEN_WORDS = """
const found = [];
for (const el of document.querySelectorAll(".first button, h1")) {
  for (const node of [...el.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE)) {
    for (const word of node.textContent.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((each) => each.top)).size > 1) { found.push(word[0]); }
    }
  }
}
return found;
"""


def test_no_break_inside_everywhere(page: Page, pages: dict[str, str]) -> None:
    """With letters of twice the size, on a small telephone: the word of the great button stays whole, titles too."""
    here = {"account": pages["account"], "receipts": pages["receipts"]}
    page.driver.execute_cdp_cmd("Network.enable", {})
    for language in ("en", "de"):
        page.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}})
        for name, path in here.items():
            page.open(path)
            for width in (320, 390):
                page.set_size(width)
                page.run("document.documentElement.style.fontSize = '200%';")
                found = [
                    word for word in page.run(BROKEN_WORDS) if word.lower() in ("everywhere", "überall", "abmelden")
                ]
                assert found == [], (name, width)


def test_saved_has_the_focus(page: Page, pages: dict[str, str]) -> None:
    """After Save the next thing that is read is that it is saved; a reload does not say it again."""
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": "en"}})
    page.open(pages["account"])
    page.press("#you button")
    page.wait("#you #saved")
    page.until(lambda: page.run("return document.activeElement.id") == "saved", "the focus")
    page.driver.refresh()
    page.wait("#you")
    assert not page.driver.find_elements("css selector", "#saved")


HEADINGS = "return [...document.querySelectorAll('h1, h2, h3, h4')].map((each) => Number(each.tagName[1]));"


def test_headings_are_in_order(page: Page, pages: dict[str, str]) -> None:
    """One first heading, and none that skips a level."""
    for name in each(page, pages, "en"):
        levels = page.run(HEADINGS)
        assert levels[0] == 1, name
        assert levels.count(1) == 1, name
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (name, levels)
        assert page.run("return document.querySelectorAll('form[role]').length") == 0


STOPS = """
return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), summary")]
  .filter((el) => el.checkVisibility()).map((el) => el.outerHTML);
"""
FOCUSED = """
const el = document.activeElement, style = getComputedStyle(el);
return [el.outerHTML, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
"""


def test_names_and_order(page: Page, pages: dict[str, str]) -> None:
    """Fields have labels, buttons words, pictures an alternative; Tab goes through all in order, and is seen.

    One heading, one main part, a title, which screen readers say first.
    """
    page.set_size(1280)
    for name in each(page, pages, "en"):
        assert page.run(NAMELESS) == [], name
        counts = "return ['h1', 'main', 'title'].map((each) => document.querySelectorAll(each).length);"
        assert page.run(counts) == [1, 1, 1], name
        for expected in page.run(STOPS):
            ActionChains(page.driver).send_keys(Keys.TAB).perform()
            assert page.run(FOCUSED) == [expected, True], name


# --- clef.js on a site's page

POLICY = (
    "default-src 'none'; script-src {origin}; style-src 'none'; connect-src 'none'; img-src https:; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HOSTILE = '"><img src=x onerror=alert(1)></a>&state=x#javascript:alert(1)'


def open_site(page: Page, body: str, around: str = "") -> None:
    """A site's page under a policy that allows the one script, and nothing inline; ``around`` stands at /around."""
    policy = POLICY.format(origin=page.server.origin)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/around":
            start_response("200 OK", [("Content-Type", "text/html")])
            return [f"<!doctype html>{around}".encode()]
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy)])
        return [f"<!doctype html><html lang=en><title>Site</title><body>{body}".encode()]

    page.stage.app = app
    page.open(page.stage.url + ("/around" if around else "/"))


def attributes(page: Page, **values: str) -> str:
    usual = {"app-id": "0" * 32, "redirect-url": "https://photos.example.com/callback", "state": "abc"}
    given = {**usual, **{name.replace("_", "-"): value for name, value in values.items()}}
    return " ".join(f"data-{name}='{value}'" for name, value in given.items())


def test_the_button(page: Page) -> None:
    """Script tags and other elements, several, in colours, styles and words; readable, and on the page's own place."""
    script = f"<script class=clef-button src='{page.server.origin}/v3/clef.js'"
    body = f"""<p id=first>{script} {attributes(page)}></script> or
        {script} {attributes(page, type="register", color="white", style="flat")}></script></p>
        <div class=clef-button {attributes(page, type="connect")} lang=de></div>
        <div class=clef-button data-app-id=1>unfinished</div>
        <div class=clef-button data-redirect-url=https://x.example/>unfinished</div>
        <div class=clef-button {attributes(page, custom="true", custom_message="Enter", color="white")}></div>"""
    open_site(page, body)
    links = page.driver.find_elements("css selector", "a")
    assert [link.text for link in links] == ["Log in with Clef", "Sign up with Clef", "Mit Clef verbinden", "Enter"]
    assert links[0].get_attribute("href") == (
        f"{page.server.origin}/iframes/qr?app_id={'0' * 32}"
        "&redirect_url=https%3A%2F%2Fphotos.example.com%2Fcallback&state=abc"
    )
    assert page.run("return [...document.querySelector('#first').children].map((el) => el.tagName)") == [
        "SCRIPT",
        "A",
        "SCRIPT",
        "A",
    ]
    assert {link.get_attribute("target") for link in links} == {"_top"}
    ratios = [(what, ratio) for what, ratio, _ in page.run(CONTRAST) if what in {link.text for link in links[:3]}]
    assert len(ratios) >= 3
    assert min(ratio for _, ratio in ratios) >= 4.5
    assert page.run("return getComputedStyle(arguments[0]).borderTopWidth", links[3]) == "0px"
    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    assert page.run(FOCUSED)[1] is True
    assert page.complaints() == []


CUSTOM = """<form action=/sent><input type=submit id=input class='btn clef-button' value='Log in with your phone' {it}>
    <input type=submit id=plain></form>
    <button id=button class=clef-button {it}>Enter</button> <a id=a class=clef-button {it}>Enter</a>
    <a id=href class=clef-button href=/sent {it}>Enter</a> <div id=div class=clef-button {it}><b>Enter</b></div>
    <script src='{origin}/v3/clef.js'></script>"""


@pytest.mark.parametrize("how", ["click", Keys.ENTER, Keys.SPACE])
def test_an_element_that_is_the_button_itself(page: Page, how: str) -> None:
    """data-custom="true": nothing is drawn; a click or a key on it leads to the server, and no form is sent."""
    site = page.server.add_site(f"Custom {how}")
    it = attributes(page, app_id=site.app_id, redirect_url=site.callback, custom="true")
    for name in ("input", "button", "a", "href", "div"):
        open_site(page, CUSTOM.format(it=it, origin=page.server.origin))
        assert page.run("return document.querySelectorAll('.clef-button-link, iframe').length") == 0
        if how == "click":
            page.press(f"#{name}")
        elif (how, name) == (Keys.SPACE, "href"):
            continue  # of a link Space scrolls the page
        else:
            for _ in range(20):
                ActionChains(page.driver).send_keys(Keys.TAB).perform()
                if page.run("return document.activeElement.id") == name:
                    break
            ActionChains(page.driver).send_keys(how).perform()
        url = page.wait_for_url(f"{page.server.origin}/iframes/qr?app_id={site.app_id}&redirect_url=")
        assert url.endswith("&state=abc"), name
    open_site(page, CUSTOM.format(it=it, origin=page.server.origin))
    page.press("#plain")
    page.wait_for_url(f"{page.stage.url}/sent")


def test_an_element_becomes_the_button_and_its_state_changes(page: Page) -> None:
    """The attributes at the time of the click count; a drawn button is removed from an element that becomes custom."""
    site = page.server.add_site("Later")
    it = attributes(page, app_id=site.app_id, redirect_url=site.callback)
    open_site(
        page, f"<div class=clef-button {it}><i>Enter</i></div><script src='{page.server.origin}/v3/clef.js'></script>"
    )
    assert page.find("a").text == "Log in with Clef"
    page.run("document.querySelector('div').dataset.custom = 'true';")
    page.until(lambda: page.find("div").text == "Enter", "no link")
    page.run("document.querySelector('div').dataset.state = 'other';")
    page.press("i")
    assert page.wait_for_url(f"{page.server.origin}/iframes/qr").endswith("&state=other")


SPINNER = """
document.querySelector("section").hidden = true;
const show = () => { document.querySelector("section").hidden = false; };
const look = () => {
  const frame = document.querySelector("section iframe");
  if (!frame) { return; }
  window.shown = (window.shown || 0) + 1;
  if (frame.dataset.loaded) { show(); } else { frame.addEventListener("load", show); }
};
"""


@pytest.mark.parametrize("when", ["DOMContentLoaded", "load"])
@pytest.mark.parametrize("tag", ["script", "div"])
def test_a_page_that_waits_for_the_frame(page: Page, when: str, tag: str) -> None:
    """data-embed="true", as the plugin for WordPress does: the page shows the button, and nothing is framed."""
    origin = page.server.origin
    it = attributes(page, embed="true")
    button = f"<script class=clef-button src='{origin}/v3/clef.js' {it}></script>"
    if tag == "div":
        button = f"<div class=clef-button {it}></div><script src='{origin}/v3/clef.js'></script>"
    waits = f"{SPINNER} window.addEventListener({when!r}, look);"

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        body = f"<section>{button}</section><script>{waits}</script>"
        return [f"<!doctype html><html lang=en><title>Site</title><body>{body}".encode()]

    page.stage.app = app
    page.open(page.stage.url)
    page.wait("section a")
    assert page.run("return window.shown") == 1
    frame = page.find("iframe")
    assert not frame.is_displayed()
    assert frame.get_attribute("src") in (None, "")
    page.run("document.querySelector('.clef-button').setAttribute('data-state', 'other');")
    page.until(lambda: states(page) == ["other"], "another state")
    assert page.run("return document.querySelectorAll('iframe').length") == 1


def test_the_frame_breaks_no_policy(page: Page) -> None:
    """Under a policy that forbids frames the button is there, and the console says nothing."""
    script = (
        f"<script class=clef-button src='{page.server.origin}/v3/clef.js' {attributes(page, embed='true')}></script>"
    )
    open_site(page, script)
    assert page.wait("a").text == "Log in with Clef"
    assert page.complaints() == []


def states(page: Page) -> list[str]:
    """Return the ``state`` of each button on the page."""
    found = "return [...document.querySelectorAll('a')].map((link) => new URL(link.href).searchParams.get('state'));"
    return list(page.run(found))


def test_buttons_that_come_later(page: Page) -> None:
    """Buttons that a script adds, by either call or without one, and attributes that change; the script twice."""
    scripts = "".join(f"<script src='{page.server.origin}/{version}/clef.js'></script>" for version in ("v2", "v3"))
    open_site(page, f"{scripts}<p></p>")
    page.run(
        """
        const make = (name) => {
          const el = document.createElement("div");
          for (const [key, value] of [["app-id", "1"], ["redirect-url", "https://x.example/"], ["state", name]]) {
            el.setAttribute("data-" + key, value);
          }
          document.querySelector("p").append(el);
          return el;
        };
        ClefButton.initialize({el: make("initialize")});
        new ClefButton({el: make("render")}).render();
        make("class").className = "clef-button";
        """
    )
    page.until(lambda: states(page) == ["initialize", "render", "class"], "three buttons")
    page.run("document.querySelector('.clef-button').setAttribute('data-state', 'changed');")
    page.until(lambda: states(page) == ["initialize", "render", "changed"], "another state")
    assert page.complaints() == []


def test_hostile_values(page: Page) -> None:
    """Whatever stands in data-*: it stays a value of one address on the server's own origin, and text."""
    hostile = HOSTILE.replace('"', "&quot;")
    values = attributes(
        page,
        app_id=hostile,
        redirect_url=hostile,
        state=hostile,
        type="constructor",
        color="__proto__",
        style="hasOwnProperty",
        custom_message=hostile,
        custom_logo="javascript:alert(1)",
    )
    odd = attributes(page, type="constructor", color="__proto__", style="toString")
    script = f"<script class=clef-button src='{page.server.origin}/v1/clef.js' {values}></script>"
    open_site(page, f"{script}<div class=clef-button lang=__proto__ {odd}></div>")
    link, plain = page.driver.find_elements("css selector", "a")
    assert [link.text, plain.text] == [HOSTILE, "Log in with Clef"]
    ground = "return [...arguments].map((link) => getComputedStyle(link).backgroundColor);"
    assert page.run(ground, link, plain) == ["rgb(42, 79, 181)"] * 2  # the usual colour
    read = "const url = new URL(arguments[0].href); return [url.origin, url.pathname, url.hash, ...url.searchParams];"
    assert page.run(read, link) == [
        page.server.origin,
        "/iframes/qr",
        "",
        ["app_id", HOSTILE],
        ["redirect_url", HOSTILE],
        ["state", HOSTILE],
    ]
    assert page.driver.find_elements("css selector", "img") == []
    page.run("document.querySelector('script').setAttribute('data-state', '\\ud800');")
    page.until(lambda: page.run(read, link)[-1] == ["state", "\ufffd"], "half a character, which is none")
    assert page.complaints() == []


def test_the_whole_page_goes_to_the_server(page: Page) -> None:
    """A click inside a frame leaves the frame: the server is never shown in one."""
    site = page.server.add_site("Framed")
    script = f"<script class=clef-button src='{page.server.origin}/v3/clef.js'"
    inner = f"{script} {attributes(page, app_id=site.app_id, redirect_url=site.callback)}></script>"
    page.set_size(1280)
    open_site(page, inner, "<iframe src='/' width=600 height=300></iframe>")
    page.driver.switch_to.frame(0)
    page.press("a")
    page.driver.switch_to.default_content()
    assert page.wait_for_url(f"{page.server.origin}/iframes/qr")


def test_the_late_page_goes_on_when_the_site_has_heard(page: Page) -> None:
    """It asks by itself, and leads to the question; it presses nothing."""
    server, bo, site = page.server, page.server.add_person("Bo"), page.server.add_site("Late")
    browser = server.browser(signed_in=bo)
    server.log_in(site, browser)
    with server.database.writing() as connection:
        logouts.log_out_of_app(connection, bo.id, site.app_id, now=server.clock())
    name = f"clef-session-{server.origin.rpartition(':')[2]}"
    page.open("/healthz")
    page.driver.add_cookie({"name": name, "value": browser.web.cookies[name]})
    page.open(f"/iframes/late?{site.ask(state='x')}")
    page.wait("#late button")
    with server.database.writing() as connection:
        connection.execute(update(deliveries).where(deliveries.c.app_id == site.app_id).values(state="confirmed"))
    page.wait_for_url(f"{server.origin}/iframes/qr?{site.ask(state='x')}")
    page.wait("form[action^='/iframes/approve'] button")
    assert page.driver.find_elements("css selector", "input[name='late']") == []
    assert page.complaints() == []
