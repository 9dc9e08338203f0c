"""Settings as text: what the constructors get, and the one sentence for each thing that a person may get wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask
import hypothesis
import pytest
import webtest
from hypothesis import given, strategies
from support import doc_runner
from support.app import FakeProvider, browser, echo
from support.cases import each
from support.doc_runner import ROOT

import clef_wsgi
from clef_wsgi import ConfigurationError, ProviderUnavailable, from_settings, settings_from_environ
from clef_wsgi.demo.processes import find_example
from clef_wsgi.middleware_options import MiddlewareOptions
from clef_wsgi.settings import load, text_values
from clef_wsgi.settings.ini_file import read_file, split_address

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SECRET = "a secret for tests alone, 32 bytes or more"
APP_SECRET = "the-secret-of-the-app-0123456789"
HERE = __name__
PAGE = ROOT / "docs" / "settings.md"

GOOD = {
    "base_url": "https://www.example.com",
    "provider": "clef",
    "provider.server_url": "https://login.example.com",
    "provider.app_id": "0123456789abcdef0123456789abcdef",
    "provider.app_secret": APP_SECRET,
    "store": "memory",
    "session.secret": SECRET,
}

fake_provider = FakeProvider()
the_answer = 42


class Rack:
    """A store of somebody's own, with options of every kind."""

    def __init__(
        self,
        place: Path,
        *,
        names: tuple[str, ...] = (),
        shelves: int = 1,
        rate: float | None = None,
        locked: bool = False,
        age: timedelta = timedelta(1),
        keeper: Any = None,
        **more: str,
    ) -> None:
        self.got = (place, names, shelves, rate, locked, age, keeper, more)
        self._store = clef_wsgi.MemoryLogoutStore()
        self.tick, self.prune = self._store.tick, self._store.prune
        self.record_logout, self.newest_logout = self._store.record_logout, self._store.newest_logout


class Cellar(Rack):
    """A store whose options are mappings and lists, beside what a text can be."""

    def __init__(
        self,
        *,
        claims: Mapping[str, str] | None = None,
        wines: Sequence[str] = (),
        years: frozenset[int] = frozenset(),
        later: MutableMapping[str, str] | None = None,
        either: str | Sequence[str] = "",
        quoted: "int" = 0,  # noqa: UP037
    ) -> None:
        self.wanted = {"claims": claims, "wines": wines, "years": years, "later": later} | {
            "either": either,
            "quoted": quoted,
        }
        super().__init__(Path())


class Leaky:
    """A provider whose error holds what it was given."""

    def __init__(self, *, key: str) -> None:
        raise RuntimeError(f"can't connect with {key}")


class Refusing:
    """A provider that must ask its server first, which does not answer."""

    def __init__(self) -> None:
        raise ProviderUnavailable("The login service is away.")


def provider() -> FakeProvider:
    """A factory is as good as a class."""
    return fake_provider


def welcome(environ: dict[str, Any], user: dict[str, Any]) -> None:
    user["role"] = "member"


def faults(**texts: str) -> tuple[str, ...]:
    """Return the faults of the good settings changed by these (``__`` for a dot)."""
    with pytest.raises(ConfigurationError) as refused:
        load({**GOOD, **{name.replace("__", "."): text for name, text in texts.items()}})
    return refused.value.faults


# -- what comes out ---------------------------------------------------------------------------------------


def test_an_app_is_wrapped_in_both_layers() -> None:
    """With session settings the app is inside Beaker and the middleware, and a person can sign in."""
    texts = {name: text for name, text in GOOD.items() if not name.startswith("provider")}
    app = from_settings(echo, {**texts, "provider": f"{HERE}:provider", "on_login": f"{HERE}:welcome"})
    ann = browser(app)
    ann.sign_in("ann")
    assert ann.user["role"] == "member"
    ann.notify(fake_provider.logout_token("ann"))
    assert ann.user is None


def test_options_are_checked_without_a_middleware() -> None:
    """What was checked is kept, in the form that a command needs; the one middleware is that of ``wrap``."""
    found = load({**GOOD, "max_login_age": "12h"})
    assert type(found.checked) is MiddlewareOptions
    assert (found.checked.max_login_age, found.checked.webhook_path) == (43_200, "/clef/webhook")
    assert found.checked is found.checked


def test_without_session_settings_beaker_is_somebody_elses() -> None:
    """No ``session.`` key: the middleware alone, which says at the first request that there is no Beaker."""
    app = from_settings(echo, {name: text for name, text in GOOD.items() if name != "session.secret"})
    assert isinstance(app, clef_wsgi.ClefMiddleware)
    with pytest.raises(ConfigurationError, match="no Beaker session"):
        webtest.TestApp(app).get("/")


def test_types_come_from_annotations() -> None:
    """Texts become what the constructors ask for, those of a third party too."""
    found = load(
        {
            **GOOD,
            "protect": "/admin\n  /account",
            "public": "/ /über",
            "ignore": "",
            "max_login_age": "12h",
            "state_lifetime": "90",
            "session.timeout": "1h",
            "session.cookie_expires": "7d",
            "session.httponly": "Yes",
            "store": f"{HERE}:Rack",
            "store.place": "/srv/rack",
            "store.shelves": "3",
            "store.rate": "0.5",
            "store.locked": "on",
            "store.age": "1.5h",
            "store.anything": "goes",
        }
    )
    assert found.options["protect"] == ["/admin", "/account"]
    assert found.options["public"] == ["/", "/über"]
    assert found.options["ignore"] == []
    assert found.options["max_login_age"] == timedelta(hours=12)
    assert found.options["state_lifetime"] == timedelta(seconds=90)
    assert found.session == {
        "secret": SECRET,
        "timeout": 3600,
        "cookie_expires": timedelta(days=7),
        "httponly": True,
    }
    age = timedelta(hours=1.5)
    assert isinstance(found.logout_store, Rack)
    assert found.logout_store.got == (Path("/srv/rack"), (), 3, 0.5, True, age, None, {"anything": "goes"})


def cellar(**texts: str) -> Any:
    """Return the arguments that a third party's constructor gets."""
    options = {f"store.{name}": text for name, text in texts.items()}
    store: Any = load({**GOOD, "store": f"{HERE}:Cellar", **options}).logout_store
    return store.wanted


def test_a_plug_of_ones_own_takes_single_values() -> None:
    """A text, a number; where an option may be a text or a list, it is a text."""
    assert cellar(either="red wine", quoted="3") == {
        "claims": None,
        "wines": (),
        "years": frozenset(),
        "later": None,
        "either": "red wine",
        "quoted": 3,
    }


@each("name", ["claims", "wines", "years", "later"])
def test_what_no_text_can_be_is_refused(name: str) -> None:
    """Nothing is split or taken raw in silence: a list or mapping of somebody else's is refused, without its value."""
    for text in ("S3CRET", "S3CRET=b", "1 2"):
        (fault,) = faults(store=f"{HERE}:Cellar", **{f"store__{name}": text})
        assert fault == f"store.{name} can't be written as text: make this plug in Python."


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("1h", 3600), ("5m", 300), ("1s", 1), ("500ms", 0.5), ("2w", 1_209_600)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    """A number with its unit."""
    assert text_values.duration(text) == timedelta(seconds=seconds)


def test_environment_has_the_same_settings() -> None:
    """``CLEF_WSGI_PROVIDER__APP_ID`` is ``provider.app_id``; what begins otherwise is not ours."""
    environ = {"CLEF_WSGI_" + name.upper().replace(".", "__"): text for name, text in GOOD.items()}
    assert settings_from_environ({**environ, "CLEF_PORT": "tcp://10.0.0.1", "HOME": "/"}) == GOOD


def test_secrets_in_files(tmp_path: Path) -> None:
    """One line end at the end is not part of a secret; several lines are several secrets, the newest first."""
    one, several = tmp_path / "one", tmp_path / "several"
    one.write_text(SECRET + "\n")
    several.write_text("new secret\nold secret\n")
    texts = {name: text for name, text in GOOD.items() if not name.endswith("secret")}
    found = load({**texts, "session.secret_file": str(one), "provider.app_secret_file": str(several)})
    assert found.session == {"secret": SECRET}
    assert vars(found.provider)["_secrets"] == ("new secret", "old secret")
    with pytest.raises(ConfigurationError, match=r"provider.app_secret and provider.app_secret_file are both given"):
        load({**GOOD, "provider.app_secret_file": str(several)})


def test_the_block_of_the_page_is_what_it_says(tmp_path: Path) -> None:
    """The INI of docs/settings.md, word for word but for where secrets lie: Redis, with a cache in front."""
    block = doc_runner.BY_NAME["settings_ini"].text
    for name, text in {"clef": APP_SECRET, "session": SECRET}.items():
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "site.ini").write_text(block.replace("/run/secrets", str(tmp_path)))
    found = load(read_file(str(tmp_path / "site.ini")))
    assert type(found.logout_store).__name__ == "CachedLogoutStore"
    assert found.options == {"base_url": "https://www.example.com", "protect": ["/admin", "/account"]}
    assert found.session == {"type": "ext:redis", "url": "redis://10.0.0.5/1", "secret": SECRET}
    assert repr(found.provider).startswith("ClefProvider(server_url='https://login.example.com'")


# -- what is told -----------------------------------------------------------------------------------------


def _mistakes() -> list[list[str]]:
    return next(rows for heading, rows in doc_runner.tables(PAGE) if heading == "Mistakes")


LENGTH = "must be a length of time, such as 30d, 12h, 5m or 90s."
MORE_MISTAKES = [
    ("no `provider.app_id`", "provider.app_id is missing."),
    ("protect = admin", 'protect must be a list of plain paths, such as ["/admin", "/account"].'),
    ("max_login_age = -1h", f"max_login_age {LENGTH}"),
    ("store_failure = open", "store_failure must be 'unavailable' or 'anonymous'."),
    (
        "`store = sqlite` `store.path = missing/logouts.db`",
        "store.path must lie in a directory that exists and can be written, also for -wal and -shm.",
    ),
    ("store.max_staleness = 1 second", f"store.max_staleness {LENGTH}"),
    (
        "session.secret_file = /usr/lib",
        "session.secret_file names /usr/lib, which can't be read: Is a directory.",
    ),
    ("session.type = ext:redis", "session.url is missing."),
    ("session.httponly = maybe", "session.httponly must be true or false."),
    (
        "session.cookie_expire = 30d",
        "There is no setting session.cookie_expire: the nearest is session.cookie_expires.",
    ),
    ("provider.signed_tokens = maybe", "provider.signed_tokens must be true or false."),
]
"""Mistakes that the page leaves out, written as it writes them."""


@pytest.mark.parametrize(("written", "told"), [*_mistakes(), *MORE_MISTAKES])
def test_mistakes_are_told_so(written: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake, in a file that is good but for it, gets its sentence, and no other."""
    monkeypatch.chdir(tmp_path)
    Path("clef_secret").write_text(APP_SECRET)
    texts = dict(GOOD)
    if written.startswith("no "):
        del texts[written.removeprefix("no ").strip("`")]
    lines = "" if written.startswith("no ") else written.strip("`").replace("` `", "\n")
    names = {line.partition("=")[0].strip().removesuffix("_file") for line in lines.splitlines()}
    good = "\n".join(f"{name} = {text}" for name, text in texts.items() if name not in names)
    Path("site.ini").write_text(f"[filter:clef]\nuse = egg:clef_wsgi\n{good}\n{lines}\n")
    with pytest.raises(ConfigurationError) as refused:
        load(read_file("site.ini"))
    assert refused.value.faults == (told,)


def test_there_are_twenty_mistakes() -> None:
    """The page has at least twenty."""
    assert len(_mistakes()) >= 20


def test_all_faults_are_told_together() -> None:
    """One of each kind, in one error."""
    told = faults(
        base_url="www.example.com",
        protext="/a",
        max_login_age="soon",
        provider__server_url="http://login.example.com",
        store="sqlite",
        session__secret="short",
        session__type="ext:redis",
    )
    starts = ("base_url must", "There is no setting protext", "max_login_age must", "provider.server_url must")
    rest = ("store.path is missing", "The session's secret must", "session.url is missing")
    assert [sum(fault.startswith(start) for fault in told) for start in (*starts, *rest)] == [1] * 7
    assert len(told) == 7


# -- hostile ----------------------------------------------------------------------------------------------

CANARY = "c4nary-5ecret-0123456789-abcdefgh"


@pytest.mark.parametrize(
    "texts",
    [
        {"session.secret": CANARY + "\0"},
        {"session.secret_file": CANARY},
        {"session.secret_file": f"/{CANARY}"},
        {"provider.app_secret": f"{CANARY}\u00e9"},
        {"provider.server_url": f"https://user:{CANARY}@login.example.com"},
        {"provider.server_url": f"https://user:{CANARY}@["},
        {"provider.proxy_url": f"ftp://user:{CANARY}@proxy"},
        {"store": "redis", "store.url": f"redis://:{CANARY}@host:port/x"},
        {"store": "sql", "store.url": f"postgresql://me:{CANARY}@host:port/x"},
        {"store": CANARY},
        {"store": f"{CANARY}:x"},
        {"provider": f"{HERE}:Leaky", "provider.key": CANARY},
        {"max_login_age": CANARY},
        {"session.httponly": CANARY},
        {"on_login": CANARY},
        {"base_url": f"https://user:{CANARY}@www.example.com"},
        {CANARY: "a line of a secret that was not indented"},
        {CANARY.replace("-", "") + "_secret_file": "/nowhere"},
    ],
    ids=str,
)
def test_no_secret_is_told(texts: dict[str, str]) -> None:
    """Whatever is wrong, and wherever the secret stands: neither the error nor what caused it repeats it."""
    with pytest.raises(ConfigurationError) as refused:
        load({**GOOD, **texts})
    error: BaseException | None = refused.value
    while error is not None:
        assert CANARY not in str(error) + repr(error)
        error = error.__cause__ or error.__context__


def test_a_plug_whose_server_is_away() -> None:
    """It is no fault of the settings: the plug's own error comes out as it is, with its reason."""
    texts = {name: text for name, text in GOOD.items() if not name.startswith("provider")}
    with pytest.raises(ProviderUnavailable, match="is away") as caught:
        load({**texts, "provider": f"{HERE}:Refusing"})
    assert caught.value.reason == "provider_unavailable"


def test_a_deployment_shows_nothing() -> None:
    """Its ``repr`` holds no secret."""
    assert SECRET not in repr(load(GOOD))
    assert APP_SECRET not in repr(load(GOOD))


def test_ten_thousand_settings(tmp_path: Path) -> None:
    """A file of 10,000 unknown names gets the first of them, and a count."""
    names = ["".join(letters) for letters in product("abcdefghij", repeat=4)]
    (tmp_path / "site.ini").write_text("[clef]\n" + "".join(f"{name} = 1\n" for name in names))
    with pytest.raises(ConfigurationError) as refused:
        load(read_file(str(tmp_path / "site.ini"), "clef"))
    assert "There are 9990 more settings that are not known." in refused.value.faults
    assert len(refused.value.faults) < 20


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"max_login_age": "-1h"}, "must be a length of time"),
        ({"max_login_age": "0"}, "must be a positive"),
        ({"max_login_age": "999999999999w"}, "must be at most 36500d"),
        ({"max_login_age": "9" * 400}, "must be a length of time"),
        ({"max_login_age": "\u0663d"}, "must be a length of time"),
        ({"max_login_age": "nan"}, "must be a length of time"),
        ({"provider.timeout_seconds": "1e999"}, "must be a number"),
        ({"session.encrypt_nonce_bits": "1.5"}, "must be a whole number"),
        ({"base_url": "https://www.example.com\udcff"}, "base_url is not in UTF-8."),
        ({"session.key": "clef\x1b[31m"}, "session.key holds a control character."),
        ({"remote_user": ""}, "remote_user is empty"),
        ({"session.data_serializer": "\r"}, "session.data_serializer is empty"),
        ({"session.timeout": "0"}, "The session can't be made so: save_accessed_time must be true to use timeout."),
        ({"remote_user": "email\nname"}, "remote_user must stand on one line."),
        ({"clock": f"{HERE}:the_answer"}, "clock must name a function"),
        ({"store": "builtins:dict"}, "store names something that does not tell its options."),
        ({"store": "builtins:str.join"}, "store must be package.module:class."),
        ({"store": f"{HERE}:make_echo"}, "store.global_conf is missing."),
        ({"store": f"{HERE}:provider"}, "logout_store must be an instance of a LogoutStore"),
        ({"provider": "json:nothing"}, "provider names a class that is not in its module."),
    ],
    ids=str,
)
def test_odd_values(texts: dict[str, str], told: str) -> None:
    """Each is refused in a sentence."""
    with pytest.raises(ConfigurationError) as refused:
        load({**GOOD, **texts})
    assert len(refused.value.faults) == 1
    assert told in refused.value.faults[0]


def test_a_module_that_fails_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug's module that raises is named with the line, and without the error's text."""
    (tmp_path / "plug_that_fails.py").write_text('\nraise RuntimeError("hunter2")\n', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        load({**GOOD, "store": "plug_that_fails:Store"})
    told = "store names a module that can't be imported: RuntimeError in plug_that_fails.py, line 2."
    assert list(refused.value.faults) == [told]


def test_a_plug_whose_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "clef_wsgi.stores.redis", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        load({**GOOD, "store": "redis", "store.url": "redis://localhost"})
    assert 'store = redis needs an extra: pip install ".[redis]" in its clone.' in refused.value.faults


@each("annotations", [{}, {"wine": "a good one"}])
def test_an_option_without_a_type_is_text(annotations: dict[str, str]) -> None:
    """So is one whose annotation is no expression."""

    def make(wine):  # type: ignore[no-untyped-def]
        return wine

    make.__annotations__ = annotations
    assert [option.annotation for option in text_values.options_of(make)[0].values()] == [str]


NAMES = ["base_url", "provider", "store", "protect", "max_login_age", "clock", "store.clock", "store.max_staleness"]
NAMES += [
    f"provider.{name}" for name in ("server_url", "app_id", "app_secret", "app_secret_file", "ca_file", "proxy_url")
]
NAMES += [f"session.{name}" for name in ("type", "secret", "url", "timeout", "cookie_expires", "crypto_type", "key")]
VALUES = [
    "",
    "true",
    "0",
    "-1",
    "1e9",
    "30d",
    "/a /b",
    "memory",
    "redis",
    "sql",
    "sqlite",
    "file",
    "ext:redis",
    "cookie",
]
VALUES += [
    "os:getcwd",
    "math:pi",
    "redis://x:y@z/0",
    "postgresql://a:b@c/d",
    "http://localhost:1",
    "/dev/zero",
    "/",
    "nan",
]


@given(
    strategies.dictionaries(
        strategies.sampled_from(NAMES) | strategies.text(max_size=12),
        strategies.sampled_from(VALUES) | strategies.text(max_size=30),
        max_size=6,
    )
)
@hypothesis.settings(max_examples=150)
def test_whatever_is_written(texts: dict[str, str]) -> None:
    """Settings work, or are refused in sentences of one line: nothing else is raised."""
    told: tuple[str, ...] = ("all is well",)
    try:
        load({**GOOD, **texts})
    except ConfigurationError as error:
        told = error.faults
    assert told
    assert all([fault and "\n" not in fault for fault in told])


def test_a_value_that_is_no_text() -> None:
    """Python's own values belong into the constructors."""
    with pytest.raises(ConfigurationError, match=r"max_login_age must be text\."):
        load({**GOOD, "max_login_age": 3600})  # type: ignore[dict-item]


def test_secret_files_that_are_none(tmp_path: Path) -> None:
    """A directory, a pipe without a writer, an empty or large file, and no text: refused by name, without waiting."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "silent")
    writer = os.open(tmp_path / "silent", os.O_RDWR)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * 100_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 32)
    texts = {name: text for name, text in GOOD.items() if name != "session.secret"}
    for name in ("folder", "pipe", "silent", "empty", "large", "binary", "missing"):
        with pytest.raises(ConfigurationError) as refused:
            load({**texts, "session.secret_file": str(tmp_path / name)})
        assert refused.value.faults[0].startswith(f"session.secret_file names {tmp_path / name}, which")
        assert len(refused.value.faults) == 1
    os.close(writer)


# -- files ------------------------------------------------------------------------------------------------

FILE = """
[DEFAULT]
site = https://www.example.com
base_url = ignored by PasteDeploy, as what stands in DEFAULT is

[filter:clef]
use = egg:clef_wsgi
set debug = true
get provider.server_url = site
provider.app_id = %(here)s/100%%
On_Login = case is kept
store.path : a
  b
store.url = #not a comment
# a comment
; another
protect = /admin   # no comment, says PasteDeploy

[filter:two]
paste.filter_app_factory = clef_wsgi.paste:filter_app_factory
base_url = x

[app:main]
use = egg:Paste#static
"""


def _as_paste_reads(path: Path, name: str) -> dict[str, str]:
    from paste.deploy import loadwsgi

    context: Any = loadwsgi.loadcontext(loadwsgi.FILTER, f"config:{path}", name=name)
    return dict(context.local_conf)


@pytest.mark.parametrize("name", ["clef", "two"])
def test_files_are_read_as_pastedeploy_reads_them(tmp_path: Path, name: str) -> None:
    """Both give the same settings: ``%%``, ``here``, ``get``, ``set``, [DEFAULT], comments, continued lines."""
    path = tmp_path / "site.ini"
    path.write_text(FILE)
    assert read_file(str(path), name) == _as_paste_reads(path, name)
    assert read_file(str(path), f"filter:{name}") == read_file(str(path), name)


@pytest.mark.parametrize(
    ("content", "section", "told"),
    [
        (FILE, None, "site.ini has 2 sections that use clef_wsgi: write site.ini#clef or site.ini#two."),
        (FILE, "three", "site.ini has no such section; it has [filter:clef] [filter:two] [app:main]."),
        (FILE, "main", "site.ini, [app:main] uses something else: name the section with use = egg:clef_wsgi."),
        ("[app:main]\n", None, "site.ini has no section with use = egg:clef_wsgi: name one, as in site.ini#clef."),
        ("[clef]\na = 50%\n", "clef", "site.ini, [clef]: a has a % that PasteDeploy can't read: write %% for a %."),
        ("[clef]\na = %(b)s\n", "clef", "site.ini, [clef]: a has a % that PasteDeploy can't read: write %% for a %."),
        ("[clef]\nget a = b\n", "clef", "site.ini, [clef]: a line with 'get' names what [DEFAULT] does not have."),
        ("[clef]\na = 1\na = 2\n", "clef", "site.ini has a setting twice, the second in line 3."),
        ("[clef]\n[clef]\n", "clef", "site.ini has a section twice, the second in line 2."),
        ("base_url = x\n", None, "site.ini has no [section] before line 1."),
        (
            f"[clef]\nsession.secret =\n{CANARY}\n",
            "clef",
            "site.ini can't be read in line 3: write name = value, and indent what goes on.",
        ),
        ("[clef]\na = \udcff\n", "clef", "site.ini is not in UTF-8."),
        ("[clef]\n" + "a" * 5_000_000, "clef", "site.ini is too long for a settings file."),
    ],
)
def test_files_that_cant_be_read(
    content: str, section: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence each, which repeats no line of the file, nor does what caused it."""
    monkeypatch.chdir(tmp_path)
    Path("site.ini").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError) as refused:
        read_file("site.ini", section)
    assert str(refused.value) == told
    assert refused.value.__context__ is None


def test_places_that_are_no_files(tmp_path: Path) -> None:
    """A directory, a NUL, nothing there: a sentence, not a traceback."""
    for path in (str(tmp_path), "a\0b", str(tmp_path / "missing.ini")):
        with pytest.raises(ConfigurationError, match=r"can't be read|settings file"):
            read_file(path)


def test_addresses() -> None:
    """``site.ini#clef``."""
    assert split_address("conf/site.ini#clef") == ("conf/site.ini", "clef")
    assert split_address("site.ini") == ("site.ini", None)


# -- PasteDeploy ------------------------------------------------------------------------------------------


@pytest.fixture
def pyramid_ini(tmp_path: Path) -> Path:
    """The example's file, with its secrets, as somebody would copy it."""
    path = tmp_path / "pyramid.ini"
    shutil.copy(find_example().with_name("pyramid.ini"), path)
    (tmp_path / "data").mkdir()
    for name in ("app_secret", "session_secret", "own_session_secret"):
        (tmp_path / "data" / name).write_text(f"{name}, for tests alone, 32 bytes\n")
    return path


def test_the_pyramid_example_runs_from_its_file(pyramid_ini: Path) -> None:
    """PasteDeploy builds the pipeline: the site answers, and the middleware guards ``/account``."""
    from paste.deploy import loadapp

    stranger = webtest.TestApp(loadapp(f"config:{pyramid_ini}"), extra_environ={"HTTP_HOST": "www.example.com"})
    assert "Hello, visitor" in stranger.get("/", status=200)
    assert stranger.get("/account", status=303).location == "https://www.example.com/clef/login?next=/account"
    assert stranger.get("/clef/login", status=303).location.startswith("https://login.example.com/iframes/qr?")
    assert (pyramid_ini.parent / "data" / "logouts.db").exists()


@pytest.mark.parametrize("made", ["make_echo", "make_flask"])
@pytest.mark.parametrize("factory", ["filter_app_factory", "filter_factory"])
def test_both_entry_points(factory: str, made: str, tmp_path: Path) -> None:
    """Either factory wraps the app of a pipeline; Flask's object is served by the pipeline, so it may stand there."""
    from paste.deploy import loadapp

    lines = "\n".join(f"{name} = {text}" for name, text in GOOD.items())
    (tmp_path / "site.ini").write_text(
        f"[pipeline:main]\npipeline = clef site\n[filter:clef]\npaste.{factory} = clef_wsgi.paste:{factory}\n{lines}\n"
        f"[app:site]\npaste.app_factory = {HERE}:{made}\n"
    )
    site = webtest.TestApp(loadapp(f"config:{tmp_path}/site.ini"))
    assert json.loads(site.get("/").body)["user"] is None
    assert site.get("/clef/callback", status=400)


def make_echo(global_conf: dict[str, str]) -> Any:
    return echo


def make_flask(global_conf: dict[str, str]) -> Any:
    site = flask.Flask("site")
    site.add_url_rule("/", view_func=lambda: {"user": flask.request.environ["clef.user"]})
    return site
