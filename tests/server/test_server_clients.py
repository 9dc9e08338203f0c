"""Old clients of Clef, as they were published, against the server over HTTP: only the root address is another one.

``clef`` 0.0.8 and the Clef backend of ``social-auth-core`` 4.8.7 from the Python package index, ``clef`` 0.2.1 from
npm. ``scripts/old_clients.sh`` installs them; each runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from support.login_server import WEBHOOK, Browser, Server, Site, make_server
from support.services import require, served

from clef_wsgi.server.database.schema import deliveries

CLIENTS = Path(__file__).parent.parent / "clients"
INSTALLED = CLIENTS.parent.parent / "build" / "old-clients"
PROFILE = {"first_name": "Ann", "last_name": "Archer", "email": "ann@example.com", "phone_number": "+44 20 7946 0101"}
CALLBACK = "http://photos.example.com/login?next=a"


class Client:
    """A site in a process of its own, and the person at its door."""

    def __init__(self, command: tuple[str, ...], root: str, server: Server) -> None:
        environ = {**os.environ, "PYTHONPATH": str(INSTALLED / "python"), "OLD_CLIENTS": str(INSTALLED)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=INSTALLED, text=True
        )
        self._root = root
        self.server = server
        self.site = server.add_site(callback=CALLBACK, webhooks=[WEBHOOK])
        self.person = server.add_person(**PROFILE)
        self.browser: Browser = server.browser(signed_in=self.person)

    def order(self, do: str, *, site: Site | None = None, **more: Any) -> Any:
        """Send an order to the client and return the result: ``{"result": ...}`` or ``{"error": name}``."""
        known = {"root": self._root, "do": do, **(site or self.site).credentials, **more}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(known), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def code(self) -> str:
        return self.browser.approve(self.site.ask(state="xyz"))["code"]

    def log_out(self) -> str:
        """The logout token that the site is sent."""
        assert self.browser.submit(self.browser.get("/")).status_int == 303
        self.browser = self.server.browser(signed_in=self.person)
        *_, row = self.server.rows(deliveries, deliveries.c.app_id == self.site.app_id)
        return str(row.token)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(10)


@pytest.fixture(scope="class")
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    require("An old Clef client", (INSTALLED / ".installed").exists(), "scripts/old_clients.sh")
    require("node", shutil.which("node") is not None, "install Node.js.")
    servers: list[Server] = []

    def make_app(url: str) -> Any:
        servers.append(make_server(tmp_path_factory.mktemp("clients") / "clef.db", origin=url))
        return servers[0].app

    with served(make_app) as root:
        client = Client(request.cls.command, root, servers[0])
        yield client
        client.close()
    servers[0].close()


class ApiContract:
    """The two libraries that wrap the API and name its errors."""

    command: tuple[str, ...]

    def test_s1_login(self, client: Client) -> None:
        """S1: the code becomes the person."""
        person = client.order("login", code=client.code())["result"]
        assert person == {"id": person["id"], **PROFILE}
        assert 2**30 <= person["id"] < 2**31

    def test_s7_s8_the_library_knows_every_error(self, client: Client) -> None:
        """S7, S8: each string is in its table; the code survives the wrong secret and is used up by the right one."""
        code, site = client.code(), client.site
        wrong_secret, wrong_app = Site(site.app_id, "wrong"), Site("0" * 32, site.secret)
        assert client.order("login", code=code, site=wrong_app) == {"error": "InvalidAppIDError"}
        assert client.order("login", code=code, site=wrong_secret) == {"error": "InvalidAppSecretError"}
        assert client.order("login", code="unknown") == {"error": "InvalidOAuthCodeError"}
        assert "result" in client.order("login", code=code)
        assert client.order("login", code=code) == {"error": "InvalidOAuthCodeError"}

    def test_s11_logout(self, client: Client) -> None:
        """Section 4: the token becomes the same number, every time; what is no token has its own error."""
        number = client.order("login", code=client.code())["result"]["id"]
        token = client.log_out()
        assert client.order("logout", logout_token=token) == {"result": number}
        assert client.order("logout", logout_token=token) == {"result": number}
        assert client.order("logout", logout_token="1234567890") == {"error": "InvalidLogoutTokenError"}
        wrong = Site(client.site.app_id, "wrong")
        assert client.order("logout", logout_token=token, site=wrong) == {"error": "InvalidAppSecretError"}


@pytest.mark.services
class TestClefForPython(ApiContract):
    """``clef`` 0.0.8."""

    command = (sys.executable, str(CLIENTS / "clef_python.py"))


@pytest.mark.services
class TestClefForNode(ApiContract):
    """``clef`` 0.2.1, with ``request``."""

    command = ("node", "--no-deprecation", str(CLIENTS / "clef_node.js"))


@pytest.mark.services
class TestSocialAuth:
    """``social-auth-core`` 4.8.7, which sends the browser itself and speaks OAuth 2 to the API."""

    command = (sys.executable, str(CLIENTS / "social_auth.py"))

    def come_back(self, client: Client) -> dict[str, str]:
        start = urlsplit(client.order("start", callback=CALLBACK)["result"])
        assert start.path == "/iframes/qr"
        back = client.browser.location_of_approval(start.query)
        assert back.startswith(CALLBACK + "&redirect_state=")
        return dict(parse_qsl(urlsplit(back).query))

    def test_s1_s2_login(self, client: Client) -> None:
        """S1, S2: its state and its redirect_state come back; the code becomes the person."""
        query = self.come_back(client)
        assert query["state"] == query["redirect_state"]
        assert query["next"] == "a"
        person = client.order("finish", query=query)["result"]
        assert 2**30 <= person["id"] < 2**31
        expected = {**PROFILE, "username": "ann", "fullname": "Ann Archer"}
        assert person == {"id": person["id"], **expected}

    def test_s7_s8_refusals(self, client: Client) -> None:
        """S7, S8: the wrong secret leaves the code alone, a second use does not work."""
        query = self.come_back(client)
        wrong = Site(client.site.app_id, "wrong")
        assert client.order("finish", query=query, site=wrong) == {"error": "Invalid App Secret."}
        assert "result" in client.order("finish", query=query)
        assert client.order("finish", query=query) == {"error": "Invalid OAuth Code."}
