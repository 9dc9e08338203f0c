"""docs/frameworks.md, accounts.md and already-beaker.md: each site of the pages keeps what the page says of it."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import webtest
from support import doc_runner
from support.app import BASE_URL, SECRET, Browser, FakeProvider, browser
from support.doc_runner import BY_NAME, ROOT
from support.docs_app import DJANGO_FILES, my_app, settings
from support.example_sites import load
from werkzeug.security import generate_password_hash

import clef_wsgi
from clef_wsgi import ConfigurationError, session_options


@pytest.fixture(autouse=True)
def _a_folder_and_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's environment: an empty folder, and the variables that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name in ("APP_SECRET", "SESSION_SECRET"):
        monkeypatch.setenv(name, SECRET)


class Page:
    """A block of a page that makes a site, run with a provider that the test scripts."""

    def __init__(self, name: str) -> None:
        self.names = doc_runner.execute(BY_NAME["settings"], my_app=my_app)
        self.provider = self.names["settings"]["provider"] = FakeProvider()
        doc_runner.run(BY_NAME[name], self.names)

    def browser(self) -> Browser:
        app = self.names["app"]
        return browser(getattr(app, "wsgi_app", app), BASE_URL)


def test_row_71_an_api_for_another_origin() -> None:
    """Row 71: a CORS layer outside answers the preflight; our 401 carries its headers; other origins get none."""
    person = Page("cors_site").browser()
    friend, stranger = {"Origin": "https://app.example.com"}, {"Origin": "https://evil.example"}
    preflight = {"Access-Control-Request-Method": "GET"}
    answer = person.options("/api/albums", headers=friend | preflight, status=204)
    assert answer.headers["Access-Control-Allow-Origin"] == friend["Origin"]
    person.options("/api/albums", headers=stranger | preflight, status=401)
    script = {"Sec-Fetch-Mode": "cors", "Accept": "application/json"}
    refused = person.get("/api/albums", headers=friend | script, status=401)
    assert refused.headers["Access-Control-Allow-Origin"] == friend["Origin"]
    assert refused.json["login_url"].startswith(BASE_URL)
    person.sign_in("ann")
    assert person.get("/api/albums", headers=friend | script, status=200).json == {"albums": 3}
    assert "Access-Control-Allow-Origin" not in person.get("/api/albums", headers=stranger | script).headers


@pytest.mark.slow
def test_row_101_a_stream_ends_with_the_login() -> None:
    """Row 101: what comes in after the logout is not sent, though the stream was open before."""
    page = Page("stream_site")
    person, news = page.browser(), page.names["news"]
    person.get("/events", status=303)
    person.sign_in("ann")
    request = webtest.TestRequest.blank("/events", headers={"Cookie": person.cookie}, base_url=BASE_URL)
    stream = iter(request.call_application(page.names["app"])[2])
    news.put("one")
    assert next(stream) == b"data: one\n\n"
    assert next(stream) == b": still here\n\n"
    person.notify(page.provider.logout_token("ann"), status=200)
    news.put("two")
    assert list(stream) == []


class Socket:
    """A WebSocket's server side: ``messages`` come in one by one, then ``last`` happens and one more comes."""

    def __init__(self, messages: list[str | None], last: Callable[[], object]) -> None:
        self.messages, self.last = messages, last
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None

    def receive(self, timeout: float) -> str | None:
        if self.messages:
            return self.messages.pop(0)
        self.last()
        return "too late"

    def send(self, message: str) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


def test_row_101_a_websocket_ends_with_the_login() -> None:
    """Row 101: a message that comes in after the logout has no answer, and the socket is closed; a dead store too."""
    page = Page("stream_site")
    doc_runner.run(BY_NAME["websocket_handler"], page.names)
    logins: list[Any] = []

    def keep(environ: Any, start_response: Any) -> Any:
        logins.append(environ["clef.login"])
        return my_app(environ, start_response)

    person = browser(page.names["wrap"](keep, **page.names["settings"]), BASE_URL)
    person.sign_in("ann")
    person.get("/")
    token = page.provider.logout_token("ann")
    socket = Socket(["one", None, "two"], lambda: person.notify(token, status=200))
    page.names["echo"](socket, logins[-1])
    assert (socket.sent, socket.closed) == (["one", "two"], (1008, "logged out"))


@pytest.mark.parametrize("name", ["plain_site", "bottle_site", "flask_site", "pyramid_site"])
class TestEachFramework:
    """The short sites of docs/frameworks.md."""

    def test_buttons_and_protection(self, name: str) -> None:
        """The button fits who is there; a page for members leads to the login, and a script gets 401."""
        person = Page(name).browser()
        assert "clef-login" in person.get("/")
        assert person.get("/account", status=303).location == f"{BASE_URL}/clef/login?next=/account"
        person.post("/account", status=401)
        person.sign_in("ann")
        assert person.get("/").forms[0].action == f"{BASE_URL}/clef/logout"
        assert person.get("/account").json == {"id": "ann", "visits": 1}
        person.sign_out()
        assert "clef-login" in person.get("/")

    def test_nothing_is_left_for_the_next(self, name: str) -> None:
        """R11: what the framework's session holds of one login, the next does not see."""
        page = Page(name)
        person = page.browser()
        person.sign_in("ann")
        assert [person.get("/account").json["visits"] for _ in range(2)] == [1, 2]
        person.notify(page.provider.logout_token("ann"))
        person.sign_in("bo")
        assert person.get("/account").json == {"id": "bo", "visits": 1}


def _class(text: str) -> str:
    """The one middleware of a text, without docstrings and comments."""
    (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and "Login" in node.name]
    for node in (found, *found.body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body.pop(0)
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
    return ast.unparse(found)


def test_djangos_middleware_is_the_examples() -> None:
    """The middleware of the page is the one that the example runs, and so are the settings around it."""
    example = Path(str(load("pyramid_app").__file__)).with_name("django_app.py").read_text(encoding="utf-8")
    assert _class(BY_NAME["django_middleware"].text) == _class(example)
    shown = doc_runner.execute(BY_NAME["django_settings"])
    assert [path for path in shown["MIDDLEWARE"] if f'"{path}"' not in example] == [OWN_MIDDLEWARE]
    for path in (*shown["AUTHENTICATION_BACKENDS"], *shown["INSTALLED_APPS"], shown["MESSAGE_STORAGE"]):
        assert f'"{path}"' in example


OWN_MIDDLEWARE = "mysite.middleware.LoginSessionMiddleware"
VISIT = """
import django.core.management
from django.core.management import call_command
from webtest import TestApp
import mysite.wsgi
call_command("migrate", verbosity=0)
call_command("check", deploy=True, fail_level="ERROR")
call_command("collectstatic", interactive=False, verbosity=0)
ann = TestApp(mysite.wsgi.application, extra_environ={"wsgi.url_scheme": "https", "HTTP_HOST": "www.example.com"})
assert ann.get("/admin/", status=303).location == "https://www.example.com/clef/login?next=/admin/"
sign_in(ann, "1085577321", remote_user="id")
assert "<form" not in ann.get("/admin/", status=302).follow(status=403)
exec(open("staff.py").read())
page = ann.get("/admin/", status=200)
users = ann.get("/admin/auth/user/", status=200)
assert "password" not in page.text.lower()
ann.get("/admin/password_change/", status=404)
ann.get("/admin/auth/user/add/", status=403)
form = ann.get("/admin/auth/user/1/change/", status=200).forms["user_form"]
form["last_name"] = "Oars"
form.submit("_save", headers={"Referer": "https://www.example.com/admin/"}, status=302)
assert log_out_everywhere("1085577321") == 1
ann.get("/admin/", status=303)
sign_in(ann, "1085577321", remote_user="id")
page = ann.get("/admin/", status=200)
assert "changed successfully" not in page
page.forms["logout-form"].submit(headers={"Referer": "https://www.example.com/admin/"}, status=200)
ann.get("/admin/", status=303)
"""


@pytest.mark.process
def test_the_django_site_of_the_page() -> None:
    """The four files as they stand there: admin, messages and security middleware, the first staff member, no password.

    In a process of its own: Django's settings are the process's.
    """
    Path("mysite").mkdir()
    for name, path in DJANGO_FILES.items():
        Path(path).write_text(BY_NAME[name].text, encoding="utf-8")
    provider = "from clef_wsgi.testing import FakeProvider, log_out_everywhere, sign_in\n"
    settings_text = BY_NAME["settings"].text + "settings['provider'] = FakeProvider()\n"
    Path("mysite/wsgi.py").write_text(provider + settings_text + BY_NAME["django_site"].text, encoding="utf-8")
    program = [sys.executable, "-W", "ignore", "-c", provider + VISIT]
    done = subprocess.run(program, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


class TestAccounts:
    """docs/accounts.md."""

    def test_a_row_is_found_or_made_at_login(self) -> None:
        """The same person has one row, whatever they are called."""
        page = Page("accounts")
        page.provider.people = {"later": {"id": "ann", "first_name": "Anna"}}
        numbers = []
        for code in ("ann", "bo", "later"):
            person = page.browser()
            person.sign_in(code)
            numbers.append(person.get("/").json["member"])
        assert numbers == [1, 2, 1]

    def test_on_login_has_flasks_context(self) -> None:
        """Values that ``on_login`` takes from Flask's context are in ``clef.user`` afterwards."""
        person = Page("flask_on_login").browser()
        person.sign_in("ann")
        assert person.get("/").json == {"role": "novice"}

    @pytest.fixture
    def linking(self) -> Page:
        page = Page("link_account")
        with closing(sqlite3.connect("site.db")) as db, db:
            for name in ("old-ann", "old-bo"):
                db.execute("INSERT INTO accounts (name, password) VALUES (?, ?)", [name, _hashed(name)])
        return page

    def test_an_account_is_linked_by_its_password(self, linking: Page) -> None:
        """A person who has proven both accounts once has the old account from then on, in every browser."""
        person = linking.browser()
        person.get("/link", status=303)
        person.sign_in("ann")
        form = person.get("/account", status=302).follow().form
        form["name"], form["password"] = "old-ann", "old-ann"
        assert form.submit(status=303).follow().json == {"account": 1}
        elsewhere = linking.browser()
        elsewhere.sign_in("ann")
        assert elsewhere.get("/account").json == {"account": 1}

    def test_nothing_is_linked_without_proof(self, linking: Page) -> None:
        """A wrong password, an unknown name and a visitor link nothing; a link that is there stays."""
        person = linking.browser()
        person.post("/link", {"name": "old-ann", "password": "old-ann"}, status=401)
        person.sign_in("ann")
        person.post("/link", {"name": "old-ann", "password": "wrong"}, status=403)
        person.post("/link", {"name": "nobody", "password": "old-ann"}, status=403)
        person.get("/account", status=302)
        for name in ("old-bo", "old-ann"):
            person.post("/link", {"name": name, "password": name}, status=303)
        assert person.get("/account").json == {"account": 2}


def _hashed(password: str) -> str:
    return generate_password_hash(password, method="pbkdf2:sha256:1")


def test_what_beaker_is_refused() -> None:
    """Each row of the page's table is refused, by session_options or at the first request."""
    page = ROOT / "docs" / "already-beaker.md"
    ((_, rows),) = [table for table in doc_runner.tables(page) if table[0] == "What is refused, and why"]
    bad: dict[str, list[dict[str, Any]]] = {
        "secret": [{"secret": None}, {"secret": "x" * 31}],
        "data_serializer": [{"data_serializer": "pickle"}],
        "httponly": [{"httponly": False}],
        "secure": [{"secure": False}],
        "samesite": [{"samesite": "Strict"}, {"samesite": "None"}],
        "session_class": [{"session_class": None}],
        "use_cookies": [{"use_cookies": False}],
    }
    names = [row[0].strip("`") for row in rows]
    assert set(names) == {*bad, "type"}
    for options in ({"type": "cookie"}, *[one for each in bad.values() for one in each]):
        with pytest.raises(ConfigurationError) as refused:
            session_options(base_url=BASE_URL, **{"secret": SECRET, **options})
        assert len(refused.value.faults) == 1
    app = clef_wsgi.wrap(my_app, **{**settings(), "session": {"secret": SECRET, "type": "memory"}})
    with pytest.raises(ConfigurationError, match="Sessions live in one process"):
        browser(app).get("/", extra_environ={"wsgi.multiprocess": True})


class TestWithBeakerAlready:
    """docs/already-beaker.md, what changes for the app."""

    def changed(self, change: Callable[[dict[str, Any]], object]) -> Browser:
        """Somebody signed in, at an app that does something to its environ under ``/change``."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/change":
                change(environ)
            return my_app(environ, start_response)

        person = browser(clef_wsgi.wrap(app, **{**settings(), "provider": FakeProvider()}))
        person.sign_in("ann")
        return person

    def test_the_cookies_name_can_be_kept(self) -> None:
        """The name comes from base_url unless it is given."""
        given: list[dict[str, Any]] = [{}, {**OLD_NAME}]
        names = [session_options(base_url=BASE_URL, secret=SECRET, **more)["session.key"] for more in given]
        assert names == ["__Host-clef-www-example-com", "beaker.session.id"]

    def test_objects_raise_when_they_are_saved(self) -> None:
        """Saving an object that JSON can't hold raises an error in the app, at once."""

        def keep_an_object(environ: dict[str, Any]) -> None:
            environ["beaker.session"]["since"] = timedelta(days=1)
            environ["beaker.session"].save()
            environ["beaker.session"].persist()

        with pytest.raises(TypeError, match="JSON"):
            self.changed(keep_an_object).get("/change")

    def test_invalidate_is_no_logout(self) -> None:
        """After ``invalidate`` a copy of the cookie is still signed in; after ``end`` it is not."""
        for change, then in ((lambda environ: environ["beaker.session"].invalidate(), "ann"), (_end, None)):
            person = self.changed(change)
            copy = person.cookie
            person.get("/change")
            assert person.get("/").json is None
            person.reset()
            user = person.get("/", headers={"Cookie": copy}).json
            assert (user and user["id"]) == then


OLD_NAME = {"key": "beaker.session.id"}


def _end(environ: dict[str, Any]) -> None:
    environ["clef.login"].end()
