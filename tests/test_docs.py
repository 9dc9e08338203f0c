"""README.md and docs/: each code block runs, and does what its page says."""

from __future__ import annotations

import html
import inspect
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import doc_runner
import pytest
import requests
import webtest
from doc_runner import BLOCKS, BY_NAME, ROOT, Block, execute
from kit import FakeProvider, browser
from kit_docs import BASE_URL, SECRET, SERVER_URL, my_app, settings, visitor

import clef_wsgi
from clef_wsgi.server.commands.parser import build_parser
from clef_wsgi.server.commands.run import DEFAULT_PORT
from clef_wsgi.testing import LocalClef


@pytest.fixture(autouse=True)
def _a_folder_and_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader has: an empty folder, and the environment that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    environ = {"APP_ID": "0" * 32, "APP_SECRET": SECRET, "SESSION_SECRET": SECRET}
    addresses = {"SERVER_URL": SERVER_URL, "SITE_URL": BASE_URL}
    for name, value in {**environ, **addresses}.items():
        monkeypatch.setenv(name, value)


# -- every block ------------------------------------------------------------------------------------------

Check = Callable[[Block], None]
CHECKS: dict[str, Check] = {}


def then(check: Check) -> Check:
    """A check that a block's mark may name. It runs the block itself."""
    CHECKS[check.__name__] = check
    return check


@pytest.mark.parametrize("block", BLOCKS, ids=[block.place for block in BLOCKS])
def test_block(block: Block) -> None:
    """A code block does what its page says; one that nothing can run or read is a fault of the page."""
    if block.then:
        CHECKS[block.then](block)
    elif block.language == "python":
        execute(block, my_app=my_app)
    elif block.language == "sh":
        for words in doc_runner.commands(block):
            COMMANDS[words[0]](words)
    else:
        doc_runner.parse(block)


@then
def its_tests_pass(block: Block) -> None:
    """The test functions that the block defines pass."""
    tests = [test for name, test in execute(block).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_a_block_that_nothing_can_run_is_a_fault() -> None:
    """A language that is not known, a broken line and an unknown command fail."""
    with pytest.raises(ValueError, match="nothing here can run"):
        test_block(Block("page", 1, "", "words"))
    with pytest.raises(SyntaxError):
        test_block(Block("page", 1, "python", "import"))
    with pytest.raises(AssertionError):
        test_block(Block("page", 1, "sh", "make haste"))
    with pytest.raises(KeyError):
        test_block(Block("page", 1, "sh", "frobnicate"))


def test_no_check_and_no_name_is_left_over() -> None:
    """Each check is named by a block, and each block's name is its own."""
    assert {block.then for block in BLOCKS} - {None} == CHECKS.keys()
    assert len(BY_NAME) == sum(1 for block in BLOCKS if block.name)


# -- shell ------------------------------------------------------------------------------------------------


def _make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in words[1:] if "=" not in word]
    assert targets
    assert all([re.search(rf"(?m)^{re.escape(target)}:.*##", makefile) for target in targets])


def _python(words: list[str]) -> None:
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, check=True, text=True)
    assert len(done.stdout.strip()) >= 32, "all that is run so far makes a secret"


def _pip(words: list[str]) -> None:
    """The extras that it names exist: tests/test_package.py sees to that."""
    assert words[1] == "install"
    assert all([word.startswith("clef_wsgi[") for word in words[2:]])


def _clef_wsgi(words: list[str]) -> None:
    """The command's own parser takes the line. What it does is shown by tests/server/test_server_commands.py."""
    assert words[1] == "server"
    assert build_parser().parse_args(words[2:]).run


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "make": _make,
    "python": _python,
    "pip": _pip,
    "clef-wsgi": _clef_wsgi,
}


@then
def starts_the_server(block: Block) -> None:
    """The unit's command is one that the parser takes."""
    (program, *words) = doc_runner.parse(block)["Service"]["ExecStart"].split()
    _clef_wsgi([Path(program).name, *words])


@then
def starts_the_server_in_a_container(block: Block) -> None:
    """The same for the container file."""
    _clef_wsgi(json.loads(block.text.partition("\nCMD ")[2]))


@then
def leads_to_the_server(block: Block) -> None:
    """The proxy asks where the server listens unless it is told otherwise."""
    assert f" {'http://' * ('proxy_pass' in block.text)}127.0.0.1:{DEFAULT_PORT}" in block.text


@then
def finds_old_files_only(block: Block) -> None:
    """The line for cron removes a session that nobody has written for 31 days, and no younger one."""
    shown = execute(BY_NAME["settings"])["settings"]
    for _ in range(2):
        webtest.TestApp(clef_wsgi.wrap(my_app, **shown)).get("/clef/login", status=303)
    old, young = sorted(Path("sessions").rglob("*.cache"))
    a_while_ago = time.time() - 32 * 24 * 3600
    os.utime(old, (a_while_ago, a_while_ago))
    subprocess.run(next(doc_runner.commands(block)), check=True)
    assert young.exists()
    assert not old.exists()


@then
def curl_reaches_the_webhook(block: Block) -> None:
    """The line posts to the webhook's default address."""
    shown = execute(BY_NAME["settings"])["settings"]
    middleware = inspect.signature(clef_wsgi.ClefMiddleware).parameters
    (words,) = doc_runner.commands(block)
    assert words[:2] == ["curl", "--data"]
    assert words[3:] == [shown["base_url"] + middleware["webhook_path"].default]


# -- answers ----------------------------------------------------------------------------------------------


def _same_but_reference(block: Block, answer: dict[str, Any]) -> None:
    shown = json.loads(block.text)
    assert len(shown.pop("reference")) == len(answer.pop("reference")) == 8
    assert answer == shown


@then
def is_the_answer_to_a_bad_token(block: Block) -> None:
    """What the curl line gets: the login service does not know such a token."""
    (words,) = doc_runner.commands(BY_NAME["webhook_test"])
    with LocalClef() as clef:
        site = settings(server_url=clef.url, app_id=clef.app_id, app_secret=clef.app_secret)
        _same_but_reference(block, visitor(**site).post("/clef/webhook", words[2], status=400).json)


@then
def is_the_answer_to_a_garbled_callback(block: Block) -> None:
    """Who prefers JSON gets it."""
    answer = visitor().get("/clef/callback", headers={"Accept": "application/json"}, status=400)
    _same_but_reference(block, answer.json)


@then
def is_the_answer_to_a_script(block: Block) -> None:
    """A script at a protected path."""
    answer = visitor(protect=["/account"]).get("/account", headers={"Sec-Fetch-Mode": "cors"}, status=401)
    assert answer.json == json.loads(block.text)


# -- python -----------------------------------------------------------------------------------------------


@contextmanager
def running(text: str, *ports: int) -> Iterator[None]:
    """A file of the reader's, run as a program, once it listens on all ports."""
    Path("hello.py").write_text(text, encoding="utf-8")
    with subprocess.Popen([sys.executable, "-W", "ignore", "hello.py"]) as process:
        try:
            for port in ports:
                _await_listening(port)
            yield
        finally:
            process.terminate()


def _await_listening(port: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@then
def signs_in_over_http(block: Block) -> None:
    """README's first program, pasted and run: a stranger signs in, logs out at the service, and is out."""
    site_port, clef_port = _free_ports()
    text = block.text.replace("8000", str(site_port)).replace("8400", str(clef_port))
    with running(text, clef_port, site_port), requests.Session() as stranger:
        stranger.trust_env = False
        page = stranger.get(f"http://localhost:{site_port}/", timeout=5)
        assert "Who are you?" in page.text
        assert _press(stranger, page, person="Ann").text == "Hello Ann"
        service = stranger.get(f"http://localhost:{clef_port}/", timeout=5)
        assert "confirmed" in _press(stranger, service, person="Ann").text
        assert "Who are you?" in stranger.get(f"http://localhost:{site_port}/", timeout=5).text


def _press(visitor: requests.Session, page: requests.Response, **form: str) -> requests.Response:
    found = re.search('<form method="post" action="([^"]*)"', page.text)
    assert found
    origin = "/".join(page.url.split("/", 3)[:3])
    return visitor.post(urljoin(page.url, html.unescape(found[1])), form, headers={"Origin": origin}, timeout=5)


@then
def login_leads_to_the_provider(block: Block) -> None:
    """The wrapped app answers with nobody signed in, and its login path leads to the login service."""
    app = execute(block, my_app=my_app)["app"]
    stranger = webtest.TestApp(getattr(app, "wsgi_app", app))
    assert stranger.get("/", status=200).json in (None, {"user": None})
    _leads_to_the_provider(stranger.get("/clef/login?next=/", status=303).location)


def _leads_to_the_provider(location: str) -> None:
    address = urlsplit(location)
    assert f"{address.scheme}://{address.netloc}{address.path}" == "https://login.example.com/iframes/qr"
    assert parse_qs(address.query)["redirect_url"] == ["https://www.example.com/clef/callback"]


@then
def login_leads_from_django_to_the_provider(block: Block) -> None:
    """As for the others, in a process of its own: Django's settings are the process's."""
    Path("mysite").mkdir()
    Path("mysite/__init__.py").touch()
    Path("mysite/settings.py").write_text(
        f"SECRET_KEY = {SECRET!r}\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'mysite.urls'\n"
    )
    Path("mysite/urls.py").write_text(
        "from django.http import JsonResponse\nfrom django.urls import path\n"
        "urlpatterns = [path('', lambda request: JsonResponse({'user': request.environ['clef.user']}))]\n"
    )
    probe = (
        "from webtest import TestApp\nvisitor = TestApp(application)\n"
        "print(visitor.get('/').json, visitor.get('/clef/login?next=/').location, sep='\\n')\n"
    )
    program = [sys.executable, "-W", "ignore", "-c", BY_NAME["settings"].text + block.text + probe]
    done = subprocess.run(program, capture_output=True, check=True, text=True)
    user, location = done.stdout.split("\n", 1)
    assert user == "{'user': None}"
    _leads_to_the_provider(location.strip())


def _with_fake_provider(block: Block) -> tuple[dict[str, Any], FakeProvider]:
    """The block's namespace, with a provider that a test scripts in the settings."""
    assert block.after == "settings"
    namespace = execute(BY_NAME["settings"], my_app=my_app)
    provider = namespace["settings"]["provider"] = FakeProvider()
    doc_runner.run(block, namespace)
    return namespace, provider


@then
def nothing_of_the_first_person_is_left(block: Block) -> None:
    """R11: an app that follows the recipe for its own session keeps nothing of one person for the next."""
    namespace, provider = _with_fake_provider(block)
    app, own = namespace["app"], namespace["session"]
    app.add_url_rule("/keep", "keep", lambda: own.update(basket="oars") or "kept")
    app.add_url_rule("/", "show", lambda: {"basket": own.get("basket")})
    person = browser(app.wsgi_app)
    assert "Set-Cookie" not in person.get("/").headers
    person.sign_in("ann")
    person.get("/keep")
    assert person.get("/").json == {"basket": "oars"}
    person.notify(provider.logout_token("ann"))
    person.sign_in("bo")
    assert person.get("/").json == {"basket": None}


@then
def refuses_who_is_not_a_member(block: Block) -> None:
    """The page's on_login lets a member in with a role, and nobody else."""
    namespace, _ = _with_fake_provider(block)
    stranger, member = browser(namespace["app"]), browser(namespace["app"])
    answer = stranger.come_back(stranger.start_login(), "ann", status=400)
    assert "This site is for members." in answer.text
    member.sign_in("1085577321")
    assert member.get("/").json["role"] == "rower"


def _store_and_key(user_id: str) -> tuple[clef_wsgi.LogoutStore, str]:
    shown = execute(BY_NAME["settings"])["settings"]
    return shown["logout_store"], shown["provider"].user_key(user_id)


@then
def prunes_nothing_that_is_young(block: Block) -> None:
    """The daily call ends no login that is young enough to live, and forgets no logout that one of them needs."""
    store, key = _store_and_key("1")
    store.record_logout([key])
    logged_out, started = store.newest_logout([key]), store.tick()
    execute(block)
    assert store.newest_logout([key]) == logged_out < started


@then
def signs_out_one(block: Block) -> None:
    """One person's logins end, and nobody else's."""
    store, key = _store_and_key("1085577321")
    _, other = _store_and_key("1")
    started = store.tick()
    execute(block)
    assert store.newest_logout([other]) < started < store.newest_logout([key])


@then
def signs_out_everyone(block: Block) -> None:
    """Every login ends."""
    store, key = _store_and_key("1")
    started = store.tick()
    execute(block)
    assert store.newest_logout([key]) > started
