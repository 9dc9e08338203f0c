"""The example sites: one behaviour for all five frameworks, in this process and under real servers."""

from __future__ import annotations

import ast
import configparser
import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from support.app import SECRET
from support.doc_runner import ROOT
from support.example_sites import (
    ANN,
    BO,
    MOUNT,
    SITE,
    Site,
    load,
    make_example,
    make_site,
    path_of,
    programs,
    served,
    shown,
)
from support.ports import await_listening, free_port
from support.programs import python_path
from support.services import require
from webob import Request

from clef_wsgi.demo.processes import find_example
from clef_wsgi.testing import environ

IN_PROCESS = ("plain_wsgi", "bottle_app", "pyramid_app", "flask_app")
# Django's settings are a process's own, and another test has some too.
SERVED = {"django_app": "waitress", "plain_wsgi": "gunicorn"}
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """Started together, since they take a moment."""
    with ExitStack() as stack:
        sites = {}
        for name, server in SERVED.items():
            if find_spec(server) is None:
                continue
            data = tmp_path_factory.mktemp(server)
            sites[f"{name} under {server}"] = Site(name, stack.enter_context(served(name, data, server)), data)
        yield sites


UNDER_A_SERVER = [
    pytest.param(f"{name} under {server}", marks=[pytest.mark.services, pytest.mark.process])
    for name, server in SERVED.items()
]


@pytest.fixture(scope="module", params=[*IN_PROCESS, *UNDER_A_SERVER])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    name: str = request.param
    _, _, server = name.partition(" under ")
    if server:
        servers: dict[str, Site] = request.getfixturevalue("servers")
        require(server, name in servers, f"pip install {server}")
        return servers[name]
    data = tmp_path_factory.mktemp(name)
    return Site(name, make_site(name, data), data)


class TestEverySite:
    """Behaviour that visitors see in each example, whatever the framework."""

    def test_the_public_page(self, site: Site) -> None:
        """The public page has a login button that leads back to it, knows nobody and sets no cookie."""
        page = site.browser().visit("/", status=200)
        assert page.html.select_one("a.clef-login")["href"] == f"{SITE}/clef/login?next=/"
        assert not page.html.select("form")
        assert "Set-Cookie" not in page.headers

    def test_login(self, site: Site) -> None:
        """R1: a page for members asks for a login and opens after it; the public page knows the name then."""
        browser = site.browser()
        assert not browser.is_in
        assert path_of(browser.log_in()) == "/account"
        assert "Hello, Ann." in browser.visit("/").html.h1.text
        assert browser.is_in

    def test_next_keeps_its_query(self, site: Site) -> None:
        """A login that began at a page with a query ends there."""
        assert path_of(site.browser().log_in(path="/account?tab=2&of=a%26b")) == "/account?tab=2&of=a%26b"

    def test_an_account_is_found_by_id(self, site: Site) -> None:
        """An account is made at the first login and found at the next, whatever the person's name is now."""
        first = shown(site.browser().log_in("7:Cleo"))["Member number"]
        other = shown(site.browser().log_in("8:Cleo"))["Member number"]
        assert shown(site.browser().log_in("7:Dora"))["Member number"] == first != other

    def test_names_and_notes_are_text(self, site: Site) -> None:
        """Text that looks like HTML is escaped."""
        browser = site.browser()
        browser.log_in("9:<b>Eve</b>")
        assert browser.visit("/").html.h1.text == "Hello, <b>Eve</b>."
        assert shown(browser.keep("<i>é</i>"))["Note"] == "<i>é</i>"

    def test_sign_out(self, site: Site) -> None:
        """R9: the sign-out form leads to the public page and ends this browser's login, not another's."""
        here, elsewhere = site.browser(), site.browser()
        here.log_in()
        elsewhere.log_in()
        page = here.sign_out()
        assert (path_of(page), "Ann" in page) == ("/", False)
        assert (here.is_in, elsewhere.is_in) == (False, True)

    def test_a_logout_elsewhere(self, site: Site) -> None:
        """R8, R9: after the provider's notification both of a person's browsers are out, another person's is not."""
        browsers = [site.browser() for _ in range(3)]
        for browser, person in zip(browsers, (ANN, ANN, BO), strict=True):
            browser.log_in(person)
        assert site.browser().notify(ANN).json == {"success": True}
        assert [browser.is_in for browser in browsers] == [False, False, True]
        assert "Ann" not in browsers[0].visit("/")

    @pytest.mark.parametrize("person", [BO, ANN])
    def test_nothing_is_left_of_a_login(self, site: Site, person: str) -> None:
        """R11: who signs in after a logout finds nothing of the login before, whoever it was, in any session."""
        browser = site.browser()
        browser.log_in(ANN)
        assert shown(browser.keep("the key is under the mat"))["Note"] == "the key is under the mat"
        browser.notify(ANN)
        page = browser.come_back(browser.start_login(), person)
        assert shown(page)["Note"] == ""

    def test_a_note_stays_while_the_login_does(self, site: Site) -> None:
        """The site's own session is kept from request to request."""
        browser = site.browser()
        browser.log_in()
        browser.keep("oars")
        browser.visit("/")
        assert shown(browser.visit("/account"))["Note"] == "oars"

    def test_a_script_is_refused(self, site: Site) -> None:
        """A script, or a form, that comes without a login gets 401 with the login's address, and starts nothing."""
        browser = site.browser()
        for answer in (
            browser.post("/account", {"note": "x"}, status=401),
            browser.post("/account", {"note": "x"}, headers=SCRIPT, status=401),
            browser.get("/account", headers=SCRIPT, status=401),
        ):
            assert answer.json["login_url"].startswith(f"{SITE}/clef/login?next=/")
            assert "Set-Cookie" not in answer.headers

    def test_the_frameworks_own_csrf_protection(self, site: Site) -> None:
        """A framework's own CSRF protection is on for the site's own forms."""
        browser = site.browser()
        browser.log_in()
        refused = {"pyramid_app": 400, "django_app": 403}.get(site.name, 303)
        assert browser.post("/account", {"note": "forged"}, status="*").status_int == refused
        assert (shown(browser.visit("/account"))["Note"] == "forged") == (refused == 303)

    def test_mounted_under_a_prefix(self, site: Site) -> None:
        """Under a prefix each link, redirect and endpoint has it, and another mount's login counts for nothing."""
        browser = site.browser(MOUNT)
        assert path_of(browser.log_in(path="/account?tab=2")) == f"{MOUNT}/account?tab=2"
        page = browser.keep("oars")
        assert (path_of(page), shown(page)["Note"]) == (f"{MOUNT}/account", "oars")
        links = {link["href"] for link in page.html.select("nav a, header a")}
        assert links == {f"{MOUNT}/", f"{MOUNT}/account"}
        assert browser.get("/account", status=303)
        assert path_of(browser.sign_out()) == f"{MOUNT}/"
        browser.log_in(BO)
        browser.notify(BO)
        assert not browser.is_in


class TestTheirOwnWays:
    """Parts of an example that its framework calls, tested without the middleware."""

    def test_pyramids_security_policy(self) -> None:
        """The policy knows who is signed in, permits members alone, and ``forget`` ends the login."""
        policy = load("pyramid_app").ClefSecurityPolicy()
        nobody, ann = Request(environ()), Request(environ("ann"))
        assert [policy.authenticated_userid(request) for request in (nobody, ann)] == [None, "ann"]
        assert [bool(policy.permits(request, None, "edit")) for request in (nobody, ann)] == [False, True]
        assert policy.identity(ann)["id"] == "ann"
        assert policy.remember(ann, "bo") == []
        assert policy.forget(ann) == []
        assert policy.identity(ann) is None

    @pytest.mark.parametrize(("user", "status"), [(None, 401), ("ann", 200)])
    def test_flasks_decorator(self, tmp_path: Path, user: str | None, status: int) -> None:
        """The decorated view refuses by itself, whatever ``protect`` says of its path."""
        app = make_example("flask_app", tmp_path, SITE)
        with app.test_request_context("/account", environ_overrides=environ(user, "/account")):
            assert app.full_dispatch_request().status_code == status


@pytest.mark.process
@pytest.mark.services
def test_each_runs_as_a_program(tmp_path: Path) -> None:
    """``python EXAMPLE.py`` says where to look; there somebody signs in, over a login service of its own."""
    with programs([*IN_PROCESS, "django_app"], tmp_path) as addresses:
        assert len(addresses) == 5
        for url in addresses.values():
            with requests.Session() as visitor:
                visitor.trust_env = False
                page = visitor.get(f"{url}/account", timeout=5)
                form = re.search('action="([^"]*)"', page.text)
                assert form, page.text
                address = urljoin(page.url, html.unescape(form[1]))
                origin = {"Origin": "/".join(address.split("/", 3)[:3])}
                page = visitor.post(address, {"person": "Ann"}, headers=origin, timeout=5)
                assert (page.url, page.status_code) == (f"{url}/account", 200)
                assert "Hello, Ann." in visitor.get(url, timeout=5).text


@pytest.mark.parametrize("name", [*IN_PROCESS, "django_app"])
def test_the_first_line_says_what_to_install(name: str) -> None:
    """Each runs with what ``make demo`` has installed, or says what else: nothing that it imports is a surprise."""
    tree = ast.parse(find_example().with_name(f"{name}.py").read_text(encoding="utf-8"))
    named = re.findall(r"``pip install ([^`]+)``", ast.get_docstring(tree) or "")
    server = {re.split("[ >]", line)[0] for line in _extra("server")}
    modules = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    needed = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"clef_wsgi", "__future__"}
    assert needed <= (set(named[0].split()) if named else server) | BROUGHT


BROUGHT = {"jinja2", "werkzeug", "zope"}
"""Packages that Flask and Pyramid depend on."""


def _extra(name: str) -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["options.extras_require"][name].split("\n")[1:]


@pytest.mark.services
def test_pyramids_file_runs_as_its_first_lines_say(tmp_path: Path) -> None:
    """The commands of the comment, in a copy of the folder: the site answers, and leads to the login."""
    for name in ("pyramid.ini", "pyramid_app.py"):
        shutil.copy(find_example().with_name(name), tmp_path)
    ini, port = tmp_path / "pyramid.ini", free_port()
    text = ini.read_text(encoding="utf-8")
    ini.write_text(text.replace("localhost:8000", f"localhost:{port}"), encoding="utf-8")
    commands = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    assert commands[-1] == "pserve pyramid.ini"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join([*commands[:-1], f"exec {commands[-1]}"])
    with subprocess.Popen(
        ["sh", "-ec", script], cwd=tmp_path, env={**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"}
    ) as process:
        try:
            await_listening(port)
            answer = requests.get(f"http://localhost:{port}/account", timeout=5, allow_redirects=False)
            assert answer.headers["Location"] == "https://www.example.com/clef/login?next=/account"
        finally:
            process.terminate()


@pytest.mark.services
class TestDjangoWhileTheStoreIsAway:
    """``store_failure="anonymous"`` in front of Django, which keeps a session and a user of its own."""

    @pytest.fixture
    def site(self, servers: dict[str, Site]) -> Site:
        return servers["django_app under waitress"]

    def test_its_session_survives(self, site: Site) -> None:
        """row 43: meanwhile nobody is signed in and nothing of the session is shown; then all is as it was."""
        browser = site.browser()
        browser.log_in()
        browser.keep("oars")
        with site.outage():
            page = browser.visit("/", status=200)
            assert "Ann" not in page
            assert "Set-Cookie" not in page.headers
            browser.visit("/account", status=503)
        assert shown(browser.visit("/account", status=200))["Note"] == "oars"

    def test_nobody_who_logged_out_stays_in(self, site: Site) -> None:
        """row 43: a logout of before the outage holds during the outage and after it."""
        browser = site.browser()
        browser.log_in()
        browser.keep("oars")
        browser.notify(ANN)
        with site.outage():
            assert "Ann" not in browser.visit("/", status=200)
            browser.visit("/account", status=503)
        assert not browser.is_in
        assert shown(browser.log_in(BO))["Note"] == ""


@pytest.fixture(scope="module")
def staff(servers: dict[str, Site]) -> str:
    """Somebody who has logged in once at the Django site, and whom the example's own command made staff."""
    site = servers["django_app under waitress"]
    site.browser().log_in("40:Stella")
    assert make_staff(site, "41").stderr == "Nobody with the id 41 has logged in yet.\n"
    assert make_staff(site, "40").returncode == 0
    return "40:Stella"


@pytest.mark.services
class TestDjangosAdmin:
    """The admin, with the messages and security middleware around it, and without a password anywhere."""

    @pytest.fixture
    def site(self, servers: dict[str, Site]) -> Site:
        return servers["django_app under waitress"]

    def test_who_is_no_staff(self, site: Site) -> None:
        """A visitor is led to the login and back; a member who is no staff gets a 403, not a loop or a form."""
        browser = site.browser()
        browser.visit("/admin/login/", status=303)
        assert path_of(browser.log_in("42:Mo")) == "/account"
        refused = browser.visit("/admin/", status=302).follow(status=403)
        assert "<form" not in refused

    def test_no_password_can_be_typed_anywhere(self, site: Site, staff: str) -> None:
        """Nothing asks for a password that could never work, nor makes a user who could never come in."""
        browser = site.browser()
        assert path_of(browser.log_in(staff, path="/admin/")) == "/admin/"
        user = browser.visit("/admin/auth/user/").html.select_one("th.field-username a")["href"]
        for page in (browser.visit("/admin/"), browser.get(user)):
            assert "password" not in page.text.lower()
        browser.visit("/admin/password_change/", status=404)
        browser.get(user.replace("change/", "password/"), status=404)
        browser.visit("/admin/auth/user/add/", status=403)
        assert "css" in browser.get("/static/admin/css/base.css", status=200).content_type

    def test_log_out_of_the_admin_is_a_logout(self, site: Site, staff: str) -> None:
        """R9: the admin's "Log out" ends the login, in a copy of the cookie too; the next request signs nobody in."""
        browser, copy = site.browser(), site.browser()
        page = browser.log_in(staff, path="/admin/")
        for name, value in browser.cookies.items():
            copy.set_cookie(name, value)
        assert copy.is_in
        page.forms["logout-form"].submit(status=200)
        assert (browser.is_in, copy.is_in) == (False, False)

    def test_messages_go_with_the_login(self, site: Site, staff: str) -> None:
        """R11: a message that nobody has read yet is not shown to the next person."""
        browser = site.browser()
        browser.log_in(staff, path="/admin/")
        users = browser.visit("/admin/auth/user/")
        form = browser.get(users.html.select_one("th.field-username a")["href"]).forms["user_form"]
        form["last_name"] = "Oars"
        form.submit("_save", status=302)
        browser.notify(staff)
        site.browser().log_in("43:Nell")
        make_staff(site, "43")
        assert "changed successfully" not in browser.log_in("43:Nell", path="/admin/")

    def test_the_headers_of_its_security_middleware(self, site: Site) -> None:
        """Its pages may not be framed; its Referrer-Policy leaves the sign-out form its origin."""
        page = site.browser().visit("/")
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Referrer-Policy"] == "same-origin"


def make_staff(site: Site, user_id: str) -> subprocess.CompletedProcess[str]:
    """Run the administrator's command on the site's machine."""
    environ = {"DATA_DIR": str(site.data), "CLEF_WSGI_BASE_URL": SITE, "CLEF_WSGI_SESSION__SECRET": SECRET}
    program = [sys.executable, "-W", "ignore", str(find_example().with_name("django_app.py")), "staff", user_id]
    return subprocess.run(
        program, capture_output=True, text=True, check=False, env={**os.environ, **environ, "PYTHONPATH": python_path()}
    )
