"""Send requests to the deployed site, without cookies, and read little of each answer. No redirect is followed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from clef_wsgi.base.deadline import Exchange
from clef_wsgi.base.errors import ClefError

TIMEOUT_SECONDS = 10.0
DEADLINE_SECONDS = 20.0
"""For a whole answer: a time-out begins anew with each byte."""
MAX_BODY_BYTES = 64 * 1024


class SilenceError(ClefError):
    """The site did not answer; the message says why, as one clause."""


@dataclass(frozen=True)
class Reply:
    """A response. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def content(self) -> dict[str, Any]:
        """Return the JSON object in the body, empty where there is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def location(self) -> str:
        return self.headers.get("location", "")


class Stranger:
    """An HTTP client without cookies, with a new connection for each request.

    :param ca_file: PEM file with the certificates to trust, instead of the usual authorities.
    """

    def __init__(self, ca_file: str | None = None) -> None:
        self._verify = ca_file or True

    def ask(self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None) -> Reply:
        """Send one request.

        :raises SilenceError: there was no answer in time.
        """
        try:
            return Exchange[Reply](DEADLINE_SECONDS).run(lambda: self._ask(method, url, headers, form))
        except requests.exceptions.SSLError:
            clause = "its certificate can't be verified"
        except (requests.Timeout, TimeoutError):
            clause = "it did not answer in time"
        except (requests.RequestException, OSError) as error:
            clause = f"there is no connection to it ({type(error).__name__})"
        raise SilenceError(clause)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None) -> Reply:
        options: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "allow_redirects": False, "stream": True}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, url, headers=dict(headers), data=form, verify=self._verify, **options)
            with answer as response:
                found = {name.lower(): text for name, text in response.headers.items()}
                return Reply(response.status_code, found, _beginning(response))


def _beginning(response: requests.Response) -> bytes:
    body = b""
    for part in response.iter_content(4096):
        body += part
        if len(body) > MAX_BODY_BYTES:
            break
    return body
