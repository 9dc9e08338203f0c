"""Debian's glewlwyd in a process of its own, with a database in a folder of the test's. Configured by its REST API.

It differs from npm's oidc-provider where providers differ: logout tokens have no ``exp`` and ``typ: JWT``, its metadata
says nothing of logout, and it does not decode the secret in an Authorization header. Its pages are scripts, so a
browser's part is played by the calls that these scripts make.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, RSAKey

from support.openid import PEOPLE, Browser, Client, leads_to, query_of
from support.ports import await_listening, free_port
from support.services import require

SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
MODULES = Path("/usr/lib/glewlwyd")
COOKIE = "GLEWLWYD_OIDC_SID"
ADMINISTRATOR = {"username": "admin", "password": "password"}
"""Of the schema that the package brings."""

PASSWORD = "a password of the tests"
SCOPES = ("openid", "profile", "email")
PATIENCE_SECONDS = 20.0

CONFIGURATION = """
port = {port}
bind_address = "127.0.0.1"
external_url = "http://localhost:{port}"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "WARNING"
cookie_secure = 0
cookie_same_site = "lax"
session_key = "GLEWLWYD_SESSION"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
user_middleware_module_path = "{folder}"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3" path = "{folder}/glewlwyd.db" }};
"""


class Glewlwyd:
    """The provider, as a context manager.

    :param folder: for its configuration, its database and its log.
    :param people: claims by subject; nobody else can log in.
    """

    def __init__(self, folder: Path, people: Mapping[str, Mapping[str, Any]] = PEOPLE) -> None:
        self._folder, self._people = folder, people
        self.port = free_port()
        self._api = f"http://localhost:{self.port}/api"
        self.issuer = f"{self._api}/oidc"
        self._administrator = Browser()
        self._clients: list[Client] = []
        self._keys = _new_keys()

    def __enter__(self) -> Glewlwyd:
        program = shutil.which("glewlwyd")
        require("glewlwyd", program is not None and SCHEMA.is_file(), "install the package glewlwyd.")
        self._make_database()
        configuration = self._folder / "glewlwyd.conf"
        configuration.write_text(CONFIGURATION.format(port=self.port, modules=MODULES, folder=self._folder))
        with (self._folder / "glewlwyd.log").open("wb") as log:
            self._process = subprocess.Popen([str(program), "-c", str(configuration)], stdout=log, stderr=log)
        try:
            await_listening(self.port, PATIENCE_SECONDS, is_alive=lambda: self._process.poll() is None)
            self._configure()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._administrator.http.close()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self._folder / "glewlwyd.log").read_text(encoding="utf-8", errors="replace")

    # -- set up -------------------------------------------------------------------------------------------

    def _make_database(self) -> None:
        with closing(sqlite3.connect(self._folder / "glewlwyd.db")) as database, database:
            database.executescript(SCHEMA.read_text(encoding="utf-8"))
            # The schema's client back-end keeps one such address, under a name that nothing reads.
            database.execute(
                "UPDATE g_client_module_instance SET gcmi_parameters ="
                ' replace(gcmi_parameters, \'"post_logout_redirect_uri":{"multiple":false\','
                ' \'"post_logout_redirect_uris":{"multiple":true\')'
            )

    def _configure(self) -> None:
        self._call(self._administrator, "POST", "/auth/", ADMINISTRATOR)
        for scope in SCOPES[1:]:
            self._manage("POST", "/scope/", {"name": scope, "display_name": scope, "password_required": False})
        self._manage("POST", "/mod/plugin/", self._plugin())
        for person, claims in self._people.items():
            user = {"username": person, "name": claims["name"], "email": claims["email"], "password": PASSWORD}
            self._manage("POST", "/user/", {**user, "enabled": True, "scope": [*SCOPES, "g_profile"]})

    def _plugin(self) -> dict[str, Any]:
        parameters = {
            "iss": self.issuer,
            "jwks-private": json.dumps({"keys": list(self._keys.values())}),
            "jwks-show": True,
            "client-sign_kid-parameter": "sign_kid",
            "access-token-duration": 600,
            "refresh-token-duration": 600,
            "code-duration": 60,
            "allow-non-oidc": False,
            "auth-type-code-enabled": True,
            "auth-type-token-enabled": False,
            "auth-type-id-token-enabled": True,
            "auth-type-password-enabled": False,
            "auth-type-client-enabled": False,
            "auth-type-refresh-enabled": False,
            "oauth-as-iss-id": True,
            "pkce-allowed": True,
            "pkce-method-plain-allowed": False,
            "subject-type": "public",
            "allowed-scope": list(SCOPES),
            "name-claim": "mandatory",
            "email-claim": "mandatory",
            "session-management-allowed": True,
            "session-cookie-name": COOKIE,
            "session-cookie-expiration": 86400,
            "front-channel-logout-allowed": False,
            "back-channel-logout-allowed": True,
        }
        return {"module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": True, "parameters": parameters}

    def add(self, client: Client) -> None:
        self._clients.append(client)
        self._manage("POST", "/client/", self._metadata(client))

    def _metadata(self, client: Client) -> dict[str, Any]:
        return {
            "client_id": client.client_id,
            "name": client.client_id,
            "enabled": True,
            "confidential": client.client_secret is not None,
            "client_secret": client.client_secret or "",
            "redirect_uri": [client.redirect_url],
            "post_logout_redirect_uris": [client.logout_url],
            "backchannel_logout_uri": client.webhook_url,
            "backchannel_logout_session_required": "true",
            "token_endpoint_auth_method": ["client_secret_basic", "client_secret_post"],
            "authorization_type": ["code"],
            "scope": list(SCOPES),
            "sign_kid": self._keys[client.algorithm]["kid"],
        }

    # -- what people do -----------------------------------------------------------------------------------

    def approve(self, browser: Browser, authorization_url: str, person: str) -> str:
        self._enter(browser, person)
        client_id = query_of(authorization_url)["client_id"]
        self._call(browser, "PUT", f"/auth/grant/{client_id}", {"scope": " ".join(SCOPES)})
        answer = browser.ask("GET", authorization_url + "&g_continue")
        url = leads_to(answer)
        assert url is not None, f"{answer.status_code}: {answer.text}"
        return url

    def log_out(self, browser: Browser) -> None:
        self._call(browser, "DELETE", f"/oidc/session/{browser.http.cookies[COOKIE]}")
        self._call(browser, "DELETE", "/auth/")

    def end_session(self, browser: Browser, end_url: str) -> str:
        page = leads_to(browser.ask("GET", end_url))
        assert page is not None
        assert page.startswith(f"http://localhost:{self.port}/login.html"), page
        asked = query_of(page)
        assert asked["prompt"] == "end_session"
        self._call(browser, "DELETE", f"/oidc/session/{asked['sid']}")
        self._call(browser, "DELETE", "/auth/")
        return asked["callback_url"]

    def log_out_everywhere(self, person: str) -> None:
        with closing(sqlite3.connect(self._folder / "glewlwyd.db")) as database:
            query = "SELECT DISTINCT gpoi_sid FROM gpo_id_token WHERE gpoi_username = ? AND gpoi_enabled = 1"
            sids = [sid for (sid,) in database.execute(query, [person]) if sid]
        with Browser() as browser:
            self._enter(browser, person)
            for sid in sids:
                self._call(browser, "DELETE", f"/oidc/session/{sid}")

    def rotate_keys(self) -> None:
        self._keys = _new_keys()
        self._manage("PUT", "/mod/plugin/oidc", self._plugin())
        for client in self._clients:
            self._manage("PUT", f"/client/{client.client_id}", self._metadata(client))
        self._manage("PUT", "/mod/plugin/oidc/reset/")

    # -- its API ------------------------------------------------------------------------------------------

    def _enter(self, browser: Browser, person: str) -> None:
        self._call(browser, "POST", "/auth/", {"username": person, "password": PASSWORD})

    def _manage(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> None:
        self._call(self._administrator, method, path, document)

    def _call(self, browser: Browser, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        answer = browser.ask(method, self._api + path, json=document)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text} {self.log()[-2000:]}"
        return answer


def _new_keys() -> dict[str, dict[str, Any]]:
    """Return a private JWK for each algorithm. A client's algorithm is that of the key configured for it."""
    made = {
        "RS256": RSAKey.import_key(rsa.generate_private_key(65537, 2048)).as_dict(private=True),
        "ES256": ECKey.import_key(ec.generate_private_key(ec.SECP256R1())).as_dict(private=True),
    }
    return {alg: {**key, "alg": alg, "kid": f"{alg}-{secrets.token_hex(4)}"} for alg, key in made.items()}
