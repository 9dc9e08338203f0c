"""The server's settings: what is refused, all of it at once, in sentences that say what to write instead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cases import each
from support.login_server import make_server

from clef_wsgi.server import ConfigurationError, Limits, create_app

GOOD: dict[str, Any] = {"origin": "https://login.example.com"}

BAD: list[tuple[str, Any, str]] = [
    ("origin", "login.example.com", "public address"),
    ("origin", "https://login.example.com/clef", "without a path"),
    ("origin", "https://login.example.com/?", "without a path"),
    ("origin", "https://LOGIN.example.com", "lower case"),
    ("origin", "https://user@login.example.com", "public address"),
    ("origin", "https://login.example.com:0", "public address"),
    ("origin", "ftp://login.example.com", "public address"),
    ("origin", "", "public address"),
    ("origin", None, "public address"),
    ("origin", "http://login.example.com", "https://"),
    ("origin", "http://localhost.example.com", "https://"),
    ("origin", "https://192.0.2.1", "a name"),
    ("origin", "http://127.0.0.1:8400", "a name"),
    ("origin", "https://[::1]", "a name"),
    ("rp_id", "other.example.com", "rp_id"),
    ("rp_id", "com", "rp_id"),
    ("rp_id", ".example.com", "rp_id"),
    ("rp_id", "ogin.example.com", "rp_id"),
    ("rp_id", "", "rp_id"),
    ("name", "", "name"),
    ("name", "x" * 65, "name"),
    ("name", "a\nb", "name"),
    ("logo", "/nothing/there.svg", "logo"),
    ("logo", __file__, "logo"),
    ("templates", "/nothing/there", "templates"),
    ("trusted_proxy", "nonsense", "trusted_proxy"),
    ("trusted_proxy", ["10.0.0.1/8"], "trusted_proxy"),
    ("name", "\u3164", "name"),
    ("rp_id", "com", "belongs to nobody alone"),  # row 99
    ("rp_id", "example.com.", "parent domain"),
    ("rp_id", "login.example.com.", "parent domain"),
    ("rp_id", "", "parent domain"),
    ("rp_id", "Example.com", "parent domain"),
    ("origin", "https://login.example.com.", "dot at its end"),
    ("limits", Limits(sign_in=0), "sign_in"),
    ("limits", Limits(enrolment=True), "enrolment"),
    ("limits", Limits(refused_calls=1.5), "refused_calls"),  # type: ignore[arg-type]
    ("database", "", "database"),
    ("database", None, "database"),
    ("database", "mysql://root@localhost/x", "postgresql://"),
    ("database", "sqlite://", "database"),
    ("database", "://", "database"),
]


@each(("option", "value", "word"), BAD)
def test_each_fault_is_a_sentence(tmp_path: Path, option: str, value: Any, word: str) -> None:
    """One fault, one sentence with a full stop, and nothing is made."""
    options = {**GOOD, "database": tmp_path / "clef.db", option: value}
    with pytest.raises(ConfigurationError) as refused:
        create_app(**options)
    (fault,) = refused.value.faults
    assert word in fault
    assert fault.endswith(".")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@each(
    "suffix",
    ["co.uk", "github.io", "com.au", "co.jp", "com.br", "org.uk", "ac.nz", "herokuapp.com", "duckdns.org", "a.ck"],
)
def test_row_99_a_domain_of_nobodys_is_never_written_down(tmp_path: Path, suffix: str) -> None:
    """Row 99: browsers make no passkeys for a public suffix; the name below it is somebody's, and starts."""
    where, host = tmp_path / suffix / "clef.db", f"login.example.{suffix}"
    where.parent.mkdir()
    with pytest.raises(ConfigurationError, match=f"rp_id: {suffix} belongs to nobody alone"):
        create_app(origin=f"https://{host}", database=where, rp_id=suffix)
    assert not where.exists()
    make_server(where, origin=f"https://{host}", rp_id=f"example.{suffix}").close()


def test_all_faults_at_once(tmp_path: Path) -> None:
    """All faults of the settings are reported together."""
    with pytest.raises(ConfigurationError) as refused:
        create_app(
            origin="nowhere",
            database="",
            name="",
            logo="/nothing.svg",
            templates="/nothing",
            trusted_proxy="x",
            limits=Limits(sign_in=0, enrolment=-1),
        )
    words = ("origin", "logo", "templates", "limits: sign_in", "limits: enrolment", "database", "name", "trusted_proxy")
    assert [fault.split(" must")[0] for fault in refused.value.faults] == list(words)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    "options",
    [
        {"origin": "https://login.example.com/"},
        {"origin": "https://login.example.com:8443"},
        {"origin": "http://localhost:8400"},
        {"origin": "http://clef.localhost:8400"},
        {"rp_id": "example.com"},
        {"rp_id": "login.example.com"},
        {"trusted_proxy": "127.0.0.1 10.0.0.0/8 unix"},
        {"trusted_proxy": ["::1"]},
        {"name": "Müllers Anmeldung"},
    ],
)
def test_what_is_right_is_accepted(tmp_path: Path, options: dict[str, Any]) -> None:
    """And the address is kept without its slash."""
    server = make_server(tmp_path / "clef.db", **{**GOOD, **options})
    assert server.browser().get("/nothing").status_int in (404, 421)
    settings = server.app.extensions["clef"].options
    assert not settings.origin.endswith("/")
    assert "clef.db" not in repr(settings)
    server.close()


def test_name_logo_and_templates_show(tmp_path: Path) -> None:
    """``name`` and ``logo`` stand on every page; a template of the folder replaces ours."""
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "error.html").write_text("ours: {{ title }}")
    server = make_server(tmp_path / "clef.db", name="House & Co", logo=tmp_path / "logo.svg", templates=folder)
    browser = server.browser()
    assert "House &amp; Co" in browser.get("/").text
    assert 'src="/logo"' in browser.get("/").text
    logo = browser.get("/logo")
    assert (logo.content_type, logo.headers["Cache-Control"]) == ("image/svg+xml", "public, max-age=3600")
    assert browser.get("/nothing").text.startswith("ours: ")
    server.close()


def test_without_a_logo_there_is_none(tmp_path: Path) -> None:
    """No picture, no address for it."""
    server = make_server(tmp_path / "clef.db")
    assert server.browser().get("/logo").status_int == 404
    assert "/logo" not in server.browser().get("/").text
    server.close()


@pytest.mark.process
def test_the_import_alone_loads_no_framework() -> None:
    """``import clef_wsgi.server`` loads no framework; attributes are loaded on access, and a wrong name is an error."""
    code = (
        "import sys, clef_wsgi.server as s; "
        "print(sorted({'flask', 'jinja2', 'sqlalchemy', 'webauthn'} & set(sys.modules)), hasattr(s, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "[] False"
