"""npm's oidc-provider in a process of its own: server.mjs is the program, scripts/oidc_provider.sh installs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from clef_wsgi.demo.openid_provider import installed_folder, node_command
from clef_wsgi.demo.processes import DemoError
from support.openid import PEOPLE, Browser, Client, form_of, leads_to
from support.ports import free_port
from support.services import require

PATIENCE_SECONDS = 30.0


def command() -> list[str]:
    """Return what runs the provider; skip the test where that is missing."""
    try:
        return node_command()
    except DemoError as error:
        require("oidc-provider", False, str(error))
        raise


class OidcProvider:
    """The provider, as a context manager.

    :param people: claims by subject. Anybody else may log in too, without claims.
    """

    def __init__(self, people: Mapping[str, Mapping[str, Any]] = PEOPLE) -> None:
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        self._settings = {"folder": str(installed_folder()), "port": self.port, "people": people}

    def __enter__(self) -> OidcProvider:
        self._process = subprocess.Popen(
            command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OIDC_PROVIDER_SETTINGS": json.dumps(self._settings)},
        )
        try:
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "ready\n"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def add(self, client: Client) -> None:
        metadata = {
            "client_id": client.client_id,
            "redirect_uris": [client.redirect_url],
            "post_logout_redirect_uris": [client.logout_url],
            "backchannel_logout_uri": client.webhook_url,
            "backchannel_logout_session_required": True,
            "id_token_signed_response_alg": client.algorithm,
            "token_endpoint_auth_method": client.method,
        }
        if client.client_secret is not None:
            metadata["client_secret"] = client.client_secret
        if client.public_key is not None:
            metadata["jwks"] = {"keys": [client.public_key]}
        self.command("add_client", metadata=metadata)

    def require_pushed_requests(self) -> None:
        """Refuse authorization requests that were not pushed (RFC 9126, section 5)."""
        self.command("set_options", options={"require_par": True})

    def approve(self, browser: Browser, authorization_url: str, person: str) -> str:
        answer = browser.get(authorization_url, within=self.issuer)
        if answer.status_code == 200:
            address, _ = form_of(answer)
            answer = browser.post(address, {"login": person}, within=self.issuer)
        return self._back(answer)

    def log_out(self, browser: Browser) -> None:
        address, fields = form_of(browser.get(f"{self.issuer}/session/end", within=self.issuer))
        done = browser.post(address, fields, within=self.issuer)
        assert done.status_code == 200, done.text

    def end_session(self, browser: Browser, end_url: str) -> str:
        address, fields = form_of(browser.get(end_url, within=self.issuer))
        return self._back(browser.post(address, fields, within=self.issuer))

    def log_out_everywhere(self, person: str) -> None:
        self.command("log_out_everywhere", sub=person)

    def rotate_keys(self) -> None:
        self.command("rotate")

    def failures(self) -> list[dict[str, str]]:
        """Logout notifications that did not arrive since the last call."""
        found: list[dict[str, str]] = self.command("failures")["failures"]
        return found

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        assert answer.pop("ok"), answer
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "oidc-provider ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    @staticmethod
    def _back(answer: Any) -> str:
        url = leads_to(answer)
        assert url is not None, f"{answer.status_code} from {answer.url}: {answer.text}"
        return url
