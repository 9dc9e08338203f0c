"""A site that uses the Clef backend of ``social-auth-core``: one order a line in, one outcome a line out, as JSON.

The site's own part, which the library leaves to its frameworks, is ``Site``: settings, session, and the query
of the request at hand. The backend is as it was published; ``MovedClef`` says where Clef is now.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import requests
from social_core.backends.clef import ClefOAuth2  # type: ignore[import-not-found]
from social_core.strategy import BaseStrategy  # type: ignore[import-not-found]


class Site(BaseStrategy):  # type: ignore[misc]
    def __init__(self, settings: dict[str, str]) -> None:
        super().__init__()
        self.settings = settings
        self.session: dict[str, Any] = {}
        self.query: dict[str, str] = {}

    def get_setting(self, name: str) -> Any:
        return self.settings[name]

    def build_absolute_uri(self, path: str | None = None) -> str:
        return path or ""

    def request_data(self, merge: bool = True) -> dict[str, str]:
        return self.query

    def session_get(self, name: str, default: Any = None) -> Any:
        return self.session.get(name, default)

    def session_set(self, name: str, value: Any) -> None:
        self.session[name] = value

    def authenticate(self, backend: Any, *args: Any, **kwargs: Any) -> Any:
        response = kwargs["response"]
        return {"id": response["info"]["id"], **backend.get_user_details(response)}


class MovedClef(ClefOAuth2):  # type: ignore[misc]
    root = ""

    def authorization_url(self) -> str:
        return str(super().authorization_url()).replace("https://clef.io", self.root, 1)

    def request(self, url: str, **options: Any) -> Any:
        return super().request(url.replace("https://clef.io", self.root, 1), **options)


def backend_for(order: dict[str, str]) -> MovedClef:
    MovedClef.root = order["root"]
    names = {"SOCIAL_AUTH_CLEF_KEY": order["app_id"], "SOCIAL_AUTH_CLEF_SECRET": order["app_secret"]}
    return MovedClef(Site(names), redirect_uri=order["callback"])


backend: MovedClef | None = None
logging.disable(logging.CRITICAL)
for line in sys.stdin:
    order = json.loads(line)
    try:
        if order["do"] == "start":
            backend = backend_for(order)
            outcome = {"result": backend.auth_url()}
        else:
            assert backend is not None
            backend.strategy.settings["SOCIAL_AUTH_CLEF_SECRET"] = order["app_secret"]
            backend.strategy.query = backend.data = order["query"]
            outcome = {"result": backend.auth_complete()}
    except requests.HTTPError as error:
        outcome = {"error": error.response.json()["error"]}
    print(json.dumps(outcome), flush=True)
