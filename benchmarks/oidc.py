"""OpenID Connect: what the webhook serves, and how soon two sites have let go of who logged out at the provider.

    python benchmarks/oidc.py [--rounds 9] [--tokens 500] [--logouts 20]

The webhook takes a new logout token (RS256) each time, from one thread, through WSGI, with the memory store and with
SQLite; beside it joserfc verifies as many tokens and does nothing else. Every round runs every case once, in rotating
order; printed are medians, and medians of the ratios within a round.

Then one browser logs in at two sites, and logs out at the provider; an open tab of each site asks every 5 ms. The
seconds are from the moment the browser sends its confirmation. Those of a provider that is not installed are left out.
Needs the checkout with its tests, and ``pip install ".[dev]"``. docs/performance.md has this output.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pytest
from joserfc import jwt
from support.fake_oidc import FakeOIDC, Key
from support.glewlwyd import Glewlwyd
from support.oidc_provider import OidcProvider
from support.oidc_site import Site, site
from support.openid import Browser, OpenIDProvider

from clef_wsgi import LogoutStore, MemoryLogoutStore, SQLiteLogoutStore, wrap

BASE_URL = "http://localhost"
SECRET = "a secret of a benchmark, 32 bytes or more"
PATIENCE_SECONDS = 30.0

Work = Callable[[list[str]], None]


# -- the webhook --------------------------------------------------------------------------------------------


def verifies_alone(op: FakeOIDC) -> Work:
    """joserfc's verification of signature, issuer and audience."""
    key = op.keys[0].private
    registry = jwt.JWTClaimsRegistry(iss={"essential": True, "value": op.issuer})

    def work(tokens: list[str]) -> None:
        for token in tokens:
            registry.validate(jwt.decode(token, key, algorithms=["RS256"]).claims)

    return work


def takes_by_webhook(op: FakeOIDC, store: LogoutStore) -> Work:
    """The middleware's webhook, which verifies and records."""
    app = wrap(
        lambda environ, start_response: [],
        provider=op.provider(),
        logout_store=store,
        base_url=BASE_URL,
        session={"secret": SECRET, "type": "memory"},
    )

    def work(tokens: list[str]) -> None:
        for token in tokens:
            status = post(app, urlencode({"logout_token": token}).encode())
            assert status.startswith("200"), status

    return work


def post(app: Any, body: bytes) -> str:
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/clef/webhook",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for _ in app(environ, lambda status, headers, *rest: said.append(status)):
        pass
    return said[0]


def measure_webhook(rounds: int, count: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        op = stack.enter_context(FakeOIDC())
        op.keys = [Key("k1", "RS256")]
        cases: dict[str, Work] = {
            "joserfc alone": verifies_alone(op),
            "webhook, memory store": takes_by_webhook(op, MemoryLogoutStore()),
            "webhook, SQLite store": takes_by_webhook(op, SQLiteLogoutStore(folder / "logouts.db")),
        }
        for work in cases.values():
            work([op.logout_token(sub="warm")])
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for number in range(rounds):
            names = list(cases)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                tokens = [op.logout_token(sub=f"person {each}", sid=f"session {each}") for each in range(count)]
                began = time.perf_counter()
                cases[name](tokens)
                seconds[name].append((time.perf_counter() - began) / count)
    print("| case | tokens/s | µs a token | ratio |\n|---|---:|---:|---:|")
    bare = seconds["joserfc alone"]
    for name, each in seconds.items():
        median = statistics.median(each)
        ratio = statistics.median(one / other for one, other in zip(each, bare, strict=True))
        print(f"| {name} | {1 / median:.0f} | {median * 1e6:.0f} | {ratio:.1f} |")


# -- from the provider to both sites ------------------------------------------------------------------------


def measure_logouts(name: str, started: Any, count: int) -> str | None:
    """Print how long after the confirmation both sites were out, for ``count`` logouts; return why it can't be done."""
    try:
        with started as provider, site(provider) as first, site(provider) as second, ThreadPoolExecutor(2) as tabs:
            took = sorted(_log_out(provider, (first, second), tabs) for _ in range(count))
    except pytest.skip.Exception as missing:
        return f"{name} is left out: {missing}"
    print(f"| {name} | {statistics.median(took):.2f} | {took[-1]:.2f} | {count} |")
    return None


def _log_out(provider: OpenIDProvider, sites: tuple[Site, Site], tabs: ThreadPoolExecutor) -> float:
    with Browser() as browser:
        for one in sites:
            one.log_in(browser)
        asking = [tabs.submit(_asked_until_out, one, _tab(browser)) for one in sites]
        began = time.monotonic()
        provider.log_out(browser)
        return max(tab.result() for tab in asking) - began


def _tab(browser: Browser) -> Browser:
    """A second tab: the same cookies, a connection of its own."""
    tab = Browser()
    tab.http.cookies.update(browser.http.cookies)
    return tab


def _asked_until_out(one: Site, tab: Browser) -> float:
    """The moment in which the site answered for the first time that nobody is logged in."""
    until = time.monotonic() + PATIENCE_SECONDS
    with tab:
        while time.monotonic() < until:
            if one.user(tab) is None:
                return time.monotonic()
            threading.Event().wait(0.005)
    raise SystemExit(f"{one.url} did not hear of a logout in {PATIENCE_SECONDS:.0f} s")


def providers(folder: Path) -> Iterator[tuple[str, Any]]:
    yield "npm oidc-provider", OidcProvider()
    yield "glewlwyd", Glewlwyd(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="OpenID Connect: the webhook, and logouts from the provider on.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=500, help="in one round, for each case")
    parser.add_argument("--logouts", type=int, default=20)
    chosen = parser.parse_args()
    measure_webhook(chosen.rounds, chosen.tokens)
    print("\n| provider | p50 s | longest s | logouts |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        missing = [measure_logouts(name, started, chosen.logouts) for name, started in providers(Path(folder))]
    print("".join(f"\n{each}" for each in filter(None, missing)))
    versions = ", ".join(
        f"{each} {importlib.metadata.version(each)}" for each in ("clef_wsgi", "joserfc", "cryptography")
    )
    print(f"\nCPython {platform.python_version()}, {versions}; {chosen.rounds} rounds of {chosen.tokens} tokens.")


if __name__ == "__main__":
    main()
