"""README.md and docs/: each code block runs, and does what its page says."""

from __future__ import annotations

import html
import inspect
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import prometheus_client
import pytest
import requests
import webtest
from support import doc_runner
from support.app import FakeProvider, browser
from support.doc_runner import BLOCKS, BY_NAME, ROOT, Block, execute
from support.docs_app import (
    BASE_URL,
    DEPLOYED,
    DJANGO_FILES,
    RELOADS,
    SECRET,
    SERVER_URL,
    TEXTS,
    in_environ,
    my_app,
    settings,
    visitor,
)
from support.ports import await_listening, free_port

import clef_wsgi
from clef_wsgi import cli, events, upkeep
from clef_wsgi.check import command
from clef_wsgi.server.commands.parser import build_parser
from clef_wsgi.server.commands.run import DEFAULT_PORT
from clef_wsgi.server.commands.support import DATABASE_VARIABLE
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.records import backlog
from clef_wsgi.settings import load as from_texts
from clef_wsgi.testing import LocalClef


@pytest.fixture(autouse=True)
def _a_folder_and_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's environment: an empty folder, and the variables that the pages name."""
    monkeypatch.chdir(tmp_path)
    environ = {"APP_ID": "0" * 32, "APP_SECRET": SECRET, "SESSION_SECRET": SECRET}
    addresses = {"SERVER_URL": SERVER_URL, "SITE_URL": BASE_URL}
    for name, value in {**environ, **addresses, **in_environ(TEXTS)}.items():
        monkeypatch.setenv(name, value)


# -- every block ------------------------------------------------------------------------------------------

Check = Callable[[Block], None]
CHECKS: dict[str, Check] = {}


def then(check: Check) -> Check:
    """A check that a block's mark may name. It runs the block itself."""
    CHECKS[check.__name__] = check
    return check


STARTING = {"signs_in_over_http", "login_leads_from_django_to_the_provider", "finds_old_files_only"}
"""The checks that start a program, as some blocks of commands do."""


def as_case(block: Block) -> Any:
    starts = block.then in STARTING or (block.then is None and block.text.startswith("python "))
    return pytest.param(block, id=block.place, marks=[pytest.mark.process] if starts else [])


@pytest.mark.parametrize("block", [as_case(block) for block in BLOCKS])
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


# -- OpenID Connect ---------------------------------------------------------------------------------------


def _texts(block: Block) -> dict[str, str]:
    section = dict(doc_runner.parse(block)["filter:clef"])
    return {name: text for name, text in section.items() if name != "use"}


@then
def makes_an_oidc_provider(block: Block) -> None:
    """The settings make a site whose provider is the page's; its secrets are in files, which a reader has."""
    texts = {**(_texts(BY_NAME[block.after]) if block.after else {}), **_texts(block)}
    for name in [name for name in texts if name.endswith("secret_file")]:
        Path("secret").write_text(SECRET)
        texts[name] = str(Path("secret").resolve())
    texts |= {"store.path": "logouts.db", "session.data_dir": "sessions"}
    assert isinstance(from_texts(texts).provider, clef_wsgi.OIDCProvider)


@then
def is_an_oidc_provider(block: Block) -> None:
    """The block makes one."""
    assert execute(block)["provider"].issuer.startswith("https://login.example.com")


@then
def maps_each_person_once(block: Block) -> None:
    """The old id finds the account, once; afterwards the new one does; nobody else has an account."""
    site = execute(block)
    users = [{"id": "https://login.example.com#4711", "old_id": "12345"}, {"id": "https://login.example.com#4711"}]
    for user in users:
        site["on_login"]({}, user)
        assert site["accounts"] == {"https://login.example.com#4711": {"name": "Ann"}}
        assert "old_id" not in user
    for stranger in ({"id": "x#4712", "old_id": "12345"}, {"id": "x#4713"}):
        with pytest.raises(clef_wsgi.LoginRefused):
            site["on_login"]({}, stranger)


@then
def an_asgi_app_sees_who_is_signed_in(block: Block) -> None:
    """Nobody, then whoever logged in."""
    namespace = execute(BY_NAME["settings"])
    namespace["settings"]["provider"] = FakeProvider()
    doc_runner.run(block, namespace)
    ann = browser(namespace["app"])
    assert ann.get("/").text == "nobody"
    ann.sign_in("ann")
    assert ann.get("/").text == "ann"


# -- shell ------------------------------------------------------------------------------------------------


def _make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in words[1:] if "=" not in word]
    assert targets
    assert all([re.search(rf"(?m)^{re.escape(target)}:.*##", makefile) for target in targets])


def _python(words: list[str]) -> None:
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, check=True, text=True)
    assert len(done.stdout.strip()) >= 32, "all that is run so far makes a secret"


FROM_HERE = re.compile(
    r"\.(\[[\w, ]+\])?|clef_wsgi(\[[\w, ]+\])? @ git\+https://git\.example\.com/clef_wsgi\.git"
    r"|dist/clef_wsgi-[\d.]+-py3-none-any\.whl(\[[\w, ]+\])?"
)
"""From a clone, a git address, a wheel: on an index somebody else could have the name."""


def _pip(words: list[str]) -> None:
    """tests/test_install.py runs those of README. The extras exist: tests/test_package.py sees to that."""
    assert words[1] == "install"
    assert all([FROM_HERE.fullmatch(word) for word in words[2:]])


def _clef_wsgi(words: list[str]) -> None:
    """The command's own parser takes the line. What it does is shown by the tests of the commands."""
    if words[1] == "server":
        assert build_parser().parse_args(words[2:]).run
    else:
        assert cli.build_parser().parse_args(words[1:]).run


def _deploys(words: list[str]) -> None:
    """Check that tests/test_deploying.py starts this command."""
    assert words in [*DEPLOYED.values()]


def _compose(words: list[str]) -> None:
    """tests/test_install.py holds compose.yaml, which names the variable."""
    assert words[1:4] == ["docker", "compose", "up"]
    assert words[0].partition("=")[0] in (ROOT / "compose.yaml").read_text(encoding="utf-8")


def _export(words: list[str]) -> None:
    """A variable that the commands read, with an address that they take."""
    name, _, place = words[1].partition("=")
    assert name == DATABASE_VARIABLE
    Database(place).close()


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "gunicorn": _deploys,
    "uwsgi": _deploys,
    "make": _make,
    "python": _python,
    "pip": _pip,
    "clef-wsgi": _clef_wsgi,
    "CLEF_ORIGIN=https://login.example.com": _compose,
    "export": _export,
}


@then
def starts_the_server(block: Block) -> None:
    """The unit's command is one that the parser takes."""
    (program, *words) = doc_runner.parse(block)["Service"]["ExecStart"].split()
    _clef_wsgi([Path(program).name, *words])


@then
def makes_the_user_of_the_unit(block: Block) -> None:
    """tests/test_install.py compares the lines with the unit."""
    assert next(doc_runner.commands(block))[0] == "useradd"


@then
def leads_to_the_server(block: Block) -> None:
    """Check that the proxy leads to the server's default address."""
    assert f" {'http://' * ('proxy_pass' in block.text)}127.0.0.1:{DEFAULT_PORT}" in block.text


@then
def is_run_by_test_deploying(block: Block) -> None:
    """tests/test_deploying.py writes it to its file, and runs it."""
    assert block.name in DEPLOYED


@then
def reloads_under_load(block: Block) -> None:
    """tests/test_deploying.py runs it while requests come in."""
    assert block.name in RELOADS.values()


@then
def loads_the_same_file(block: Block) -> None:
    """Check that Apache loads the page's own wsgi.py, whose app has the name that mod_wsgi wants."""
    assert re.search(r"(?m)^WSGIScriptAlias / /\S+/wsgi.py$", block.text)
    assert re.search(r"(?m)^application = ", BY_NAME["wsgi_file"].text)
    assert all(line.startswith("WSGI") for line in block.text.splitlines())


@then
def needs_no_forwarded_header(block: Block) -> None:
    """The proxy asks where the servers of the page listen, and sends nothing that this package would need."""
    listens = "127.0.0.1:8000"
    assert f"proxy_pass http://{listens};" in block.text
    assert all(listens in BY_NAME[server].text for server in ("gunicorn", "uwsgi"))
    assert "X-Forwarded" not in block.text


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
    """Check the block against the answer to the page's curl line, whose token the login service does not know."""
    (words,) = doc_runner.commands(BY_NAME["webhook_test"])
    with LocalClef() as clef:
        site = settings(server_url=clef.url, app_id=clef.app_id, app_secret=clef.app_secret)
        _same_but_reference(block, visitor(**site).post("/clef/webhook", words[2], status=400).json)


@then
def is_the_answer_to_a_garbled_callback(block: Block) -> None:
    """Check the block against the answer in JSON."""
    answer = visitor().get("/clef/callback", headers={"Accept": "application/json"}, status=400)
    _same_but_reference(block, answer.json)


@then
def is_the_answer_to_a_script(block: Block) -> None:
    """A script at a protected path."""
    answer = visitor(protect=["/account"]).get("/account", headers={"Sec-Fetch-Mode": "cors"}, status=401)
    assert answer.json == json.loads(block.text)


# -- settings as text -------------------------------------------------------------------------------------


@then
def reads_the_environment(block: Block) -> None:
    """The variables of docs/settings.md wrap an app, whose login path leads to the login service."""
    login_leads_to_the_provider(block)
    rows = next(
        rows for heading, rows in doc_runner.tables(ROOT / "docs" / "settings.md") if heading == "The environment"
    )
    given = {variable.strip("`"): "" for _, variable in rows}
    assert list(clef_wsgi.settings_from_environ(given)) == [name.strip("`") for name, _ in rows]


@then
def is_what_check_says(block: Block) -> None:
    """Word for word, but for the disk that the file happens to lie on."""
    lines: list[str] = []
    with LocalClef() as clef:
        site = {**TEXTS, "provider.server_url": clef.url, "store": "sqlite", "store.path": "logouts.db"}
        Path("sessions").mkdir()
        Path("sessions").chmod(0o755)
        files = {"session.type": "file", "session.data_dir": "sessions"}
        assert command.run({**site, **files}, is_live=False, as_json=False, say=lines.append) == 1
    told, shown = (
        [line for line in text if not re.search(r"The store's file lies|Put it on a disk", line)]
        for text in (lines, block.text.splitlines())
    )
    assert told[:-1] == shown[:-1]
    assert re.fullmatch(r"\d+ well, \d+ warnings?, 1 error\.", told[-1])
    assert shown[-1] == "10 well, 1 warning, 1 error."


@then
def is_what_prune_says(block: Block) -> None:
    """In these words, with other numbers."""
    lines: list[str] = []
    site = {**TEXTS, "store": "sqlite", "store.path": "logouts.db", "session.type": "file", "session.data_dir": "s"}
    upkeep.prune(site, lines.append)
    number = re.compile(r"^\d+", re.MULTILINE)
    assert number.sub("0", block.text).splitlines() == lines


# -- what is seen -----------------------------------------------------------------------------------------


@contextmanager
def as_before() -> Iterator[None]:
    """The log's handlers and level are put back at the end."""
    log = events.log
    handlers, level = log.handlers[:], log.level
    try:
        yield
    finally:
        log.handlers[:] = handlers
        log.setLevel(level)


@then
def finds_the_lines_of_a_person(block: Block) -> None:
    """The digest is the one that stands in the events for that person."""
    namespace = execute(block)
    assert [namespace["digest"]] == events.digests([namespace["settings"]["provider"].user_key("1085577321")])


@then
def writes_lines_of_json(block: Block) -> None:
    """A refused callback is one line of JSON with the reference that the visitor got."""
    lines = io.StringIO()
    with as_before():
        shown = execute(block)
        shown["handler"].setStream(lines)
        answer = visitor().get("/clef/callback", headers={"Accept": "application/json"}, status=400).json
    line = json.loads(lines.getvalue())
    assert (line["event"], line["reason"], line["reference"]) == ("refusal", answer["error"], answer["reference"])
    fields = {name for event in events.EVENTS.values() for name in event.fields}
    assert set(shown["FIELDS"]) == {"event", *fields}


@then
def counts_into_a_registry(block: Block) -> None:
    """Refusals by the middleware are counted in Prometheus' own registry."""
    name, labels = "clef_wsgi_refusals_total", {"reason": "malformed_callback"}
    execute(block)
    before = prometheus_client.REGISTRY.get_sample_value(name, labels) or 0
    visitor().get("/clef/callback", status=400)
    assert prometheus_client.REGISTRY.get_sample_value(name, labels) == before + 1


@then
def is_what_healthz_answers(block: Block) -> None:
    """The names and kinds are those of the answer; tests/server/test_server_operation.py holds the figures."""
    shown, told = json.loads(block.text), backlog.Backlog(1, 0, 12.5, 0.0)
    assert shown == {"status": "ok", **({"deliveries": vars(told)} if "deliveries" in shown else {})}


# -- python -----------------------------------------------------------------------------------------------


@contextmanager
def running(text: str, *ports: int) -> Iterator[None]:
    """A file of the reader's, run as a program, once it listens on all ports."""
    Path("hello.py").write_text(text, encoding="utf-8")
    with subprocess.Popen([sys.executable, "-W", "ignore", "hello.py"]) as process:
        try:
            for port in ports:
                await_listening(port)
            yield
        finally:
            process.terminate()


@then
def signs_in_over_http(block: Block) -> None:
    """README's first program, pasted and run: a stranger signs in, logs out at the service, and is out."""
    site_port, clef_port = free_port(), free_port()
    assert str(DEFAULT_PORT) not in block.text, "the demo's server has it"
    text = block.text.replace("8000", str(site_port)).replace("8500", str(clef_port))
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


@then
def only_the_front_page_and_docs_are_public(block: Block) -> None:
    """The pages that are named need no login; what nobody named does."""
    stranger = webtest.TestApp(execute(block, my_app=my_app)["app"])
    for path, status in (("/", 200), ("/docs/1", 200), ("/static/x.css", 200), ("/notes", 303), ("/docsx", 303)):
        stranger.get(path, status=status)


def _leads_to_the_provider(location: str) -> None:
    address = urlsplit(location)
    assert f"{address.scheme}://{address.netloc}{address.path}" == "https://login.example.com/iframes/qr"
    assert parse_qs(address.query)["redirect_url"] == ["https://www.example.com/clef/callback"]


@then
def is_a_file_of_the_django_site(block: Block) -> None:
    """tests/test_docs_frameworks.py writes it to its file, and visits the site."""
    assert block.name in DJANGO_FILES


@then
def login_leads_from_django_to_the_provider(block: Block) -> None:
    """Check the login in a process of its own, since Django's settings belong to the process."""
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
