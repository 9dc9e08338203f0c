"""A deployed site: waitress, and in front of it an HTTPS proxy that may misbehave."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import quote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from waitress.server import create_server

Environ = dict[str, Any]
Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Passing:
    """A request on its way to the site, or the answer on its way back."""

    status: int
    headers: Headers
    body: bytes

    def without(self, name: str) -> Passing:
        return replace(self, headers=[(n, text) for n, text in self.headers if n.lower() != name])


Ask = Callable[[], Passing]
Twist = Callable[[Environ, Ask], Passing]
"""A function that answers a request; it may pass it on to the site or not."""


def honest(environ: Environ, ask: Ask) -> Passing:
    return ask()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


class _Front(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up during the handshake: the test judges that."""


@contextmanager
def deployed(
    make_app: Callable[[str], Any], tls: ssl.SSLContext, twist: Twist = honest, *, tells_scheme: bool = True
) -> Iterator[str]:
    """A site behind its proxy.

    :param make_app: makes the site from its public address.
    :param tells_scheme: False: the proxy does not say that people came by https.
    :returns: that address.
    """
    with _Front(("127.0.0.1", 0), _Quiet) as front:
        url = f"https://localhost:{front.server_port}"
        front.socket = tls.wrap_socket(front.socket, server_side=True, do_handshake_on_connect=False)
        with served(make_app(url)) as port:
            front.set_app(_proxy(port, twist, {"X-Forwarded-Proto": "https"} if tells_scheme else {}))
            thread = threading.Thread(target=front.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield url
            finally:
                front.shutdown()
                thread.join()


@contextmanager
def served(app: Any, threads: int = 2) -> Iterator[int]:
    """An app under waitress; its port on this machine."""
    trust = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": {"x-forwarded-proto"}}
    server = create_server(app, host="127.0.0.1", port=0, threads=threads, clear_untrusted_proxy_headers=True, **trust)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.trigger.pull_trigger(server.close)  # in its own thread: its loop ends when nothing is open
        thread.join(10)
        server.task_dispatcher.shutdown()
        assert not thread.is_alive()


def _proxy(port: int, twist: Twist, more: Mapping[str, str]) -> Any:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = twist(environ, lambda: _ask(port, environ, more))
        hop_by_hop = ("connection", "transfer-encoding", "content-length")
        headers = [(name, text) for name, text in answer.headers if name.lower() not in hop_by_hop]
        start_response(f"{answer.status} -", [*headers, ("Content-Length", str(len(answer.body)))])
        return [answer.body]

    return app


def _ask(port: int, environ: Environ, more: Mapping[str, str]) -> Passing:
    headers = {name[5:].replace("_", "-"): text for name, text in environ.items() if name.startswith("HTTP_")}
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else None
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    path = quote(environ["PATH_INFO"].encode("latin-1")) + (
        f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(environ["REQUEST_METHOD"], path, body, {**headers, **more, "Connection": "close"})
        answer = connection.getresponse()
        return Passing(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


def links_home(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An app whose page has its own address, built as frameworks do."""
    home = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}/"
    start_response("200 OK", [("Content-Type", "text/html")])
    return [f'<a href="{home}">Home</a>'.encode()]


def refuses_posts(environ: Environ, ask: Ask) -> Passing:
    """Refuse every POST, as a CSRF filter does."""
    return Passing(403, [], b"CSRF token missing") if environ["REQUEST_METHOD"] == "POST" else ask()


def refuses_strangers(environ: Environ, ask: Ask) -> Passing:
    """Refuse foreign origins, as a filter does that compares the Origin with the host."""
    own = f"https://{environ['HTTP_HOST']}"
    return Passing(403, [], b"origin") if environ.get("HTTP_ORIGIN", own) != own else ask()


def redirects(environ: Environ, ask: Ask) -> Passing:
    return Passing(301, [("Location", f"https://www.example.org{urlsplit(environ['PATH_INFO']).path}")], b"")


def asks_for_a_password(environ: Environ, ask: Ask) -> Passing:
    return Passing(401, [("WWW-Authenticate", "Basic")], b"")


def is_another_site(environ: Environ, ask: Ask) -> Passing:
    return Passing(404, [("Content-Type", "text/html")], b"<h1>Not here</h1>")


def is_broken(environ: Environ, ask: Ask) -> Passing:
    return Passing(502, [], b"bad gateway")


def takes_cookies_away(environ: Environ, ask: Ask) -> Passing:
    return ask().without("set-cookie")


def takes_secure_away(environ: Environ, ask: Ask) -> Passing:
    answer = ask()
    headers = [(name, text.replace("; secure", "").replace("; Secure", "")) for name, text in answer.headers]
    return replace(answer, headers=headers)


def takes_no_store_away(environ: Environ, ask: Ask) -> Passing:
    return ask().without("cache-control")


def caching() -> Twist:
    """A proxy that keeps every answer to a GET."""
    kept: dict[str, Passing] = {}

    def twist(environ: Environ, ask: Ask) -> Passing:
        if environ["REQUEST_METHOD"] != "GET":
            return ask()
        return kept.setdefault(environ["PATH_INFO"], ask())

    return twist


def says_age(environ: Environ, ask: Ask) -> Passing:
    """A cache that was just filled."""
    answer = ask()
    return replace(answer, headers=[*answer.headers, ("Age", "0")])
