"""The network rules that every provider keeps, against peers on loopback that break them."""

from __future__ import annotations

import base64
import gc
import gzip
import ipaddress
import logging
import os
import socket
import sys
import threading
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from support.cases import each
from support.certificates import Certificate, self_signed
from support.peers import HEAD, Peer, Script, answer, drips, floods, hangs, json_answer, says
from support.threads import no_thread_to_be_had

from clef_wsgi.base.deadline import THREAD_NAME
from clef_wsgi.base.errors import ConfigurationError, ProviderUnavailable
from clef_wsgi.base.options import check_url
from clef_wsgi.providers import http_client
from clef_wsgi.providers.deadline_adapter import DeadlineAdapter
from clef_wsgi.providers.http_client import Answer, HttpClient

DEADLINE_SECONDS = 0.15
SLACK_SECONDS = 3.0  # for a busy machine; a peer that is not cut holds a test far longer
SECRET = "s3cr3t-t0k3n"
GOOD = says(json_answer({"success": True}))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After each test, however it ended for the peer, no thread of an exchange lives on."""
    yield
    join_exchanges()


def exchanges() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def join_exchanges() -> None:
    for thread in exchanges():
        thread.join(10)
        assert not thread.is_alive(), "an exchange outlived its deadline"


def client(**options: Any) -> HttpClient:
    return HttpClient(**{"timeout_seconds": 5.0, **options})


def failure(call: Callable[..., Answer], *args: Any, **kwargs: Any) -> ProviderUnavailable:
    with pytest.raises(ProviderUnavailable) as caught:
        call(*args, **kwargs)
    return caught.value


def details(error: ProviderUnavailable) -> tuple[str, int | None]:
    status: int | None = vars(error)["http_status"]
    return error.reason, status


# ---------------------------------------------------------------------------------------------- options


def test_all_faults_at_once() -> None:
    """Every option that can't work is named in one error, and none of their values."""
    with pytest.raises(ConfigurationError) as caught:
        HttpClient(
            timeout_seconds=0,
            ca_file="/nowhere/pass:word.pem",
            proxy_url="ftp://user:pass:word@proxy",
            allow_http_hosts="pass:word",
        )
    names = [fault.split()[0] for fault in caught.value.faults]
    assert names == ["timeout_seconds", "ca_file", "proxy_url", "allow_http_hosts"]
    assert "word" not in str(caught.value)


@each("seconds", [0, -1, True, float("nan"), float("inf"), 61, "5", None])
def test_timeout_must_be_a_bounded_number(seconds: Any) -> None:
    """No deadline that never comes."""
    with pytest.raises(ConfigurationError, match="timeout_seconds must be a number above 0"):
        HttpClient(timeout_seconds=seconds)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"])
def test_ca_file_must_hold_a_certificate(tmp_path: Path, content: bytes) -> None:
    """A CA file that proves nothing is found at the start, not at the first login."""
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match="ca_file must be the path of a readable PEM file"):
        HttpClient(ca_file=str(tmp_path / "ca.pem"))


@each("ca_file", ["", "a\0b", 5, b"ca.pem", "."])
def test_ca_file_must_be_a_path(ca_file: Any) -> None:
    """Anything else would fall back on nothing, or on the usual authorities."""
    with pytest.raises(ConfigurationError, match="ca_file must be the path of a readable PEM file"):
        HttpClient(ca_file=ca_file)


@each("hosts", [[""], ["a b"], ["http://a"], ["a:80"], [1], b"a", 5])
def test_http_hosts_are_bare_names(hosts: Any) -> None:
    """A host with a scheme or a port would never match, so it is refused."""
    with pytest.raises(ConfigurationError, match="allow_http_hosts must be a list of host names"):
        HttpClient(allow_http_hosts=hosts)


@each(
    "url",
    [
        "https://login.example.com",
        "https://login.example.com:8443/clef/",
        "https://[2001:db8::1]/",
        "http://localhost:8400",
        "http://LOCALHOST:8400",
        "http://clef.localhost",
        "http://127.0.0.1:8400",
        "http://127.255.255.254",
        "http://[::1]:8400",
        "http://Clef.Internal",
    ],
)
def test_good_addresses(url: str) -> None:
    """TLS, or this machine, or a host that the operator named."""
    assert check_url(url, "server_url", allow_http_hosts=["clef.Internal"]) == ()


@each(
    ("url", "fault"),
    [
        ("http://login.example.com", "begin with https"),
        ("http://localhost.example.com", "begin with https"),
        ("http://notlocalhost", "begin with https"),
        ("http://127.0.0.1.example.com", "begin with https"),
        ("http://127.1", "begin with https"),
        ("http://0x7f000001", "begin with https"),
        ("http://[::2]", "begin with https"),
        ("https://user@login.example.com", "user name or password"),
        ("https://@login.example.com", "user name or password"),
        ("http://localhost@login.example.com", "user name or password"),
        ("https://login.example.com/#", "fragment"),
        ("https://login.example.com?", "query"),
        ("https://login.example.com/?a=b", "query"),
        ("https://login.example.com\\@localhost", "absolute URL"),
        ("http://localhost%2eexample.com", "absolute URL"),
        ("https://login.example.com:99999", "absolute URL"),
        ("https://[::1", "absolute URL"),
        ("https://login.exämple.com", "absolute URL"),
        ("https://login.example.com/\n", "absolute URL"),
        (" https://login.example.com", "absolute URL"),
        ("//login.example.com", "absolute URL"),
        ("login.example.com", "absolute URL"),
        ("file:///etc/passwd", "absolute URL"),
        ("https://", "absolute URL"),
        ("", "absolute URL"),
        (None, "absolute URL"),
        (b"https://login.example.com", "absolute URL"),
    ],
)
def test_bad_addresses(url: Any, fault: str) -> None:
    """An address that could send a secret in the clear, or elsewhere, is refused with a remedy."""
    assert any(fault in sentence for sentence in check_url(url, "server_url"))


def test_several_faults_of_one_address() -> None:
    """An address is not checked only up to its first fault."""
    assert len(check_url("http://user:pw@login.example.com/?a#b", "server_url")) == 4


@each("url", ["http://login.example.com/", "https://user:pw@localhost/", "file:///etc/passwd"])
def test_address_is_checked_again_before_each_exchange(url: str) -> None:
    """An address that came from a peer's document obeys the same rules."""
    assert details(failure(client().get_json, url)) == ("provider_answer", None)


# ------------------------------------------------------------------------------------------ what is sent


@each("date", ["", "yesterday", "Mon, 99 Nov 2026 10:00:00 GMT", "Thu, 01 Jan 99999999999 00:00:00 GMT"])
def test_a_date_that_is_none(date: str) -> None:
    """A ``Date`` that can't be read is as none."""
    with Peer(says(json_answer({}, Date=date))) as peer:
        assert client().get_json(peer.url).date is None


def test_what_an_answer_says_of_itself() -> None:
    """The media type without its parameters, and the date; a JWT is not read."""
    date = "Mon, 30 Nov 2026 10:00:00 GMT"
    with Peer(
        says(json_answer({"a": 1}, Date=date)), says(answer(b"e30.e30.x", Content_Type="application/JWT; x=y"))
    ) as peer:
        first, second = client().get_json(peer.url), client().get_json(peer.url)
    assert (first.media_type, first.date, first.document) == ("application/json", 1796032800.0, {"a": 1})
    assert (second.media_type, second.document) == ("application/jwt", {})


def test_what_is_sent() -> None:
    """One POST: our user agent, no coding but identity, the form, and nothing else that names anyone."""
    with Peer(GOOD) as peer:
        got = client().post_form(f"{peer.url}/a", {"code": "c d&=é"}, headers={"Authorization": "Basic eA=="})
    assert (got.status, got.document) == (200, {"success": True})
    (request,) = peer.requests
    assert (request.method, request.target, request.form) == ("POST", "/a", {"code": ["c d&=é"]})
    assert request.headers.pop("user-agent").startswith("clef_wsgi/")  # type: ignore[attr-defined]
    assert request.headers == {
        "host": peer.netloc,
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "authorization": "Basic eA==",
        "content-length": "20",
        "content-type": "application/x-www-form-urlencoded",
    }


def test_get_with_parameters() -> None:
    """GET: parameters are escaped into the query, beside what the address has already."""
    with Peer(GOOD) as peer:
        client().get_json(f"{peer.url}/a?x=1", params={"t": "a b&é"})
    assert (peer.requests[0].method, peer.requests[0].query) == ("GET", {"x": ["1"], "t": ["a b&é"]})


def test_no_netrc_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CVE-2024-47081: no Authorization but ours, and no proxy but the configured one."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine localhost login ann password pw\ndefault login bob password pw\n")
    netrc.chmod(0o600)
    with Peer(hangs()) as trap, Peer(GOOD) as peer:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        client().get_json(peer.url)
        client().get_json(peer.url, headers={"Authorization": "Bearer ours"})
    assert [request.headers.get("authorization") for request in peer.requests] == [None, "Bearer ours"]
    assert trap.connections == 0


def test_no_cookie_is_kept() -> None:
    """A cookie set by one answer is not sent with later requests: all people share one client."""
    with Peer(says(json_answer({}, Set_Cookie="who=ann; Path=/"))) as peer:
        asker = client()
        asker.get_json(peer.url)
        asker.get_json(peer.url)
    assert [request.headers.get("cookie") for request in peer.requests] == [None, None]


def test_configured_proxy_is_used() -> None:
    """``proxy_url``, with its password; and a host named in ``allow_http_hosts`` may be asked without TLS."""
    with Peer(GOOD) as proxy:
        url = proxy.url.replace("//", "//ann:pw@")
        asker = client(proxy_url=url, allow_http_hosts=["Clef.Internal"])
        assert asker.post_form("http://clef.internal/a", {}).status == 200
    assert proxy.requests[0].target == "http://clef.internal/a"
    expected = "Basic " + base64.b64encode(b"ann:pw").decode()
    assert proxy.requests[0].headers["proxy-authorization"] == expected


def test_loopback_is_never_asked_through_a_proxy() -> None:
    """Plain http is allowed to loopback because it stays on this machine."""
    with Peer(hangs()) as proxy, Peer(GOOD) as peer:
        client(proxy_url=proxy.url).get_json(peer.url)
    assert (proxy.connections, peer.connections) == (0, 1)


def test_localhost_names_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6761: no name server may say where ``x.localhost`` is."""
    names: list[object] = []
    real = socket.getaddrinfo

    def recording(host: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(host)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", recording)
    with Peer(GOOD) as peer:
        client().get_json(f"http://clef.LOCALHOST:{peer.port}/")
    assert names == ["localhost"]


def test_shared_by_threads() -> None:
    """Answers go to those who asked."""

    def ask(number: int) -> bool:
        with Peer(says(json_answer({"number": number}))) as peer:
            return asker.get_json(peer.url).document == {"number": number}

    asker = client()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


# ------------------------------------------------------------------------------------------ no connection


def test_row_37_refused() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = failure(client().get_json, f"http://127.0.0.1:{port}/")
    assert details(error) == ("provider_unavailable", None)
    assert vars(error)["cause"] == "ConnectionRefusedError"


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a source tree it says so, and asks all the same."""
    with Peer(GOOD) as peer:
        client().get_json(f"{peer.url}/")  # everything is imported now
        http_client._headers.cache_clear()
        try:
            with monkeypatch.context() as patched:
                patched.setattr(sys, "path", [])
                client().get_json(f"{peer.url}/")
        finally:
            http_client._headers.cache_clear()
        client().get_json(f"{peer.url}/")
    before, without, after = (request.headers["user-agent"] for request in peer.requests)
    assert without == "clef_wsgi/unknown"
    assert before == after != without


def test_row_37_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name server knows no such host."""

    def unknown(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(client().get_json, "https://login.example.com/")
    assert (error.reason, vars(error)["cause"]) == ("provider_unavailable", "gaierror")


def test_row_37_name_that_can_not_be_looked_up() -> None:
    """A label of 64 letters makes Python raise UnicodeError instead."""
    assert failure(client().get_json, f"https://{'a' * 64}.example/").reason.startswith("provider_")


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a dead address first is reached all the same, by one request."""
    real = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead = server.getsockname()

    def two(*args: Any, **kwargs: Any) -> Any:
        (good,) = real("127.0.0.1", args[1], type=socket.SOCK_STREAM)
        return [(*good[:4], dead), good]

    with Peer(GOOD) as peer:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        assert client().get_json(peer.url).status == 200
    assert len(peer.requests) == 1


@each("broken", [b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"Content-Length: 9\r\n\r\n{"])
def test_row_37_closed_too_early(broken: bytes) -> None:
    """A connection that breaks off is one failed exchange, and is not tried again."""
    with Peer(says(broken)) as peer:
        assert failure(client().get_json, peer.url).reason in ("provider_unavailable", "provider_answer")
    assert peer.connections == 1


def test_the_adapter_refuses_to_work_without_a_deadline() -> None:
    """Outside of an exchange no connection is opened: nothing would end it."""
    with Peer(GOOD) as peer, requests.Session() as session:
        session.mount("http://", DeadlineAdapter())
        with pytest.raises(RuntimeError, match=r"inside Exchange\.run only"):
            session.get(peer.url)
    assert peer.connections == 0


def test_no_thread_to_be_had() -> None:
    """A system that is out of threads can't ask the provider; it is not a crash."""
    with no_thread_to_be_had():
        error = failure(client().get_json, "https://login.example.com/")
    assert details(error) == ("provider_unavailable", None)


# ----------------------------------------------------------------------------------------------------- TLS


def test_row_37_certificate_of_nobody(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-signed certificate is refused before anything is sent, whatever the environment trusts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.ca_file)
    monkeypatch.setenv("CURL_CA_BUNDLE", certificate.ca_file)
    with Peer(GOOD, tls=certificate.context) as peer:
        assert details(failure(client().get_json, peer.url)) == ("provider_tls", None)
    assert peer.requests == []


def test_row_37_certificate_of_another_host(certificate: Certificate) -> None:
    """A trusted certificate counts for the names in it only."""
    with Peer(GOOD, tls=certificate.context) as peer:
        url = peer.url.replace("localhost", "127.0.0.1")
        error = failure(client(ca_file=certificate.ca_file).get_json, url)
    assert (error.reason, peer.requests) == ("provider_tls", [])


def test_ca_file_is_trusted(certificate: Certificate) -> None:
    """``ca_file`` names whom to trust."""
    with Peer(GOOD, tls=certificate.context) as peer:
        assert client(ca_file=certificate.ca_file).get_json(peer.url).status == 200


def test_row_37_no_tls_at_all() -> None:
    """A peer that answers TLS with plain text is not asked again without TLS."""
    with Peer(says(b"HTTP/1.1 200 OK\r\n\r\n{}"), reads=False) as peer:
        assert failure(client().get_json, peer.url.replace("http", "https")).reason == "provider_tls"
    assert peer.connections == 1


# ------------------------------------------------------------------------------------------------ deadline


def assert_cut(peer: Peer, url: str, *, timeout_seconds: float = DEADLINE_SECONDS, **options: Any) -> None:
    """The caller is free at the deadline, the connection ended, and nothing is sent a second time."""
    begun = time.monotonic()
    error = failure(client(timeout_seconds=timeout_seconds, **options).post_form, url, {"code": SECRET})
    assert time.monotonic() - begun < timeout_seconds + SLACK_SECONDS
    assert details(error) == ("provider_timeout", None)
    assert peer.ended.acquire(timeout=4), "the connection stayed open"
    assert peer.connections == 1


@each(
    "script",
    [
        pytest.param(hangs(), id="says nothing"),
        pytest.param(drips(b"H"), id="drips the status line"),
        pytest.param(drips(b"x", first=HEAD + b"X-Slow: "), id="drips headers"),
        pytest.param(drips(b"HTTP/1.1 100 Continue\r\n\r\n"), id="drips interim answers"),
        pytest.param(drips(b" ", first=HEAD + b"Content-Length: 9999\r\n\r\n"), id="drips the body"),
        pytest.param(drips(b"1\r\n \r\n", first=HEAD + b"Transfer-Encoding: chunked\r\n\r\n"), id="drips chunks"),
    ],
    at_once=True,
)
def test_row_38_one_deadline_for_all(script: Script) -> None:
    """A byte now and then keeps nobody waiting: the deadline is for the whole exchange."""
    with Peer(script) as peer:
        assert_cut(peer, peer.url)


def test_row_38_tls_that_never_begins() -> None:
    """A peer that accepts, and never shakes hands."""
    with Peer(hangs(), reads=False) as peer:
        assert_cut(peer, peer.url.replace("http", "https"))


def test_row_38_drips_inside_tls(certificate: Certificate) -> None:
    """The connection is cut under TLS too, where the first socket has long lost its descriptor."""
    with Peer(drips(b"x", first=HEAD + b"X-Slow: "), tls=certificate.context) as peer:
        assert_cut(peer, peer.url, timeout_seconds=2 * DEADLINE_SECONDS, ca_file=certificate.ca_file)
    assert len(peer.requests) == 1  # the cut came after the handshake


def test_row_38_proxy_that_drips() -> None:
    """The deadline holds for the way through a proxy."""
    with Peer(drips(b"x", first=b"HTTP/1.1 ")) as proxy:
        assert_cut(proxy, "https://login.example.com/", proxy_url=proxy.url)
    join_exchanges()
    # Old versions of http.client leave the answer of a proxy that breaks off to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_row_38_name_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up can't be interrupted, but is not waited for; when it returns, nothing is sent any more."""
    asked, known = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        known.wait(5)
        return real(*args, **kwargs)

    with Peer(GOOD) as peer:
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        error = failure(client(timeout_seconds=DEADLINE_SECONDS).get_json, peer.url)
        assert asked.is_set()
        known.set()
        join_exchanges()
    assert details(error) == ("provider_timeout", None)
    assert peer.connections == 0


@pytest.mark.slow
def test_the_thread_of_an_exchange_ends_with_it() -> None:
    """It has a name, by which the tests find what is left behind, and ends at the deadline."""
    with Peer(hangs()) as peer, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(failure, client(timeout_seconds=1.0).get_json, peer.url)
        while not (running := exchanges()) and not asking.done():
            threading.Event().wait(0.005)
        assert len(running) == 1
        assert asking.result(10).reason == "provider_timeout"
    join_exchanges()
    assert not running[0].is_alive()


def test_row_38_a_deadline_for_several_exchanges() -> None:
    """``until`` is shared: where it has passed, nothing is sent."""
    with Peer(GOOD) as peer:
        asker = client()
        assert asker.get_json(peer.url, until=asker.deadline()).status == 200
        assert failure(asker.get_json, peer.url, until=time.monotonic()).reason == "provider_timeout"
    assert peer.connections == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_no_descriptor_is_left_open(certificate: Certificate) -> None:
    """Neither a good exchange nor a cut one leaves a socket behind."""
    asker = client(ca_file=certificate.ca_file)

    def count() -> int:
        for tls in (None, certificate.context):
            with Peer(GOOD, hangs(), tls=tls) as peer:
                asker.get_json(peer.url)
                failure(asker.get_json, peer.url, until=time.monotonic() + DEADLINE_SECONDS)
        join_exchanges()
        return len(os.listdir("/proc/self/fd"))

    assert count() == count()


# ----------------------------------------------------------------------------------------------------- size

KIB, MIB, GIB = 2**10, 2**20, 2**30
CHUNK = b" " * (64 * KIB)
BOMB = gzip.compress(b'{"a":"' + b" " * (32 * MIB) + b'"}', 6)


@each(
    ("script", "reason"),
    [
        pytest.param(floods(HEAD + b"\r\n", CHUNK, GIB), "provider_answer", id="no length"),
        pytest.param(floods(HEAD + b"Content-Length: 1073741824\r\n\r\n", CHUNK, GIB), "provider_answer", id="length"),
        pytest.param(
            floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n", CHUNK, GIB),
            "provider_answer",
            id="one chunk",
        ),
        pytest.param(
            floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * len(CHUNK), GIB),
            "provider_answer",
            id="a chunk's length",
        ),
        pytest.param(
            floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"x" * len(CHUNK), GIB),
            "provider_answer",
            id="a trailer",
        ),
        pytest.param(floods(HEAD + b"X: ", CHUNK, GIB), "provider_answer", id="a header"),
        pytest.param(
            floods(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n", CHUNK, GIB), "provider_answer", id="a redirect"
        ),
        pytest.param(floods(b"HTTP/1.1 500 Oops\r\n\r\n", CHUNK, GIB), "provider_unavailable", id="an error page"),
        pytest.param(says(answer(BOMB, Content_Encoding="gzip")), "provider_answer", id="gzip bomb"),
        pytest.param(
            says(answer(BOMB, "302 Found", Location="/b", Content_Encoding="gzip")),
            "provider_answer",
            id="gzip bomb in a redirect",
        ),
    ],
)
def test_row_39_cut_at_the_cap(script: Script, reason: str) -> None:
    """R5, a gigabyte or a bomb: memory stays within 2 MB, and the peer gets rid of no more than buffers hold."""
    with Peer(script) as peer:
        tracemalloc.start()
        try:
            error = failure(client().post_form, peer.url, {"a": "b"})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peer.ended.acquire(timeout=4)
        sent = peer.talks[0].sent
    assert (error.reason, len(peer.requests)) == (reason, 1)
    assert peak < 2 * MIB
    assert sent < 32 * MIB


@pytest.mark.parametrize(("size", "accepted"), [(64 * KIB, True), (64 * KIB + 1, False)])
def test_row_39_where_the_cap_is(size: int, accepted: bool) -> None:
    """64 KiB are read, and not a byte more."""
    body = b'{"a":"' + b"x" * (size - 8) + b'"}'
    assert len(body) == size
    with Peer(says(answer(body))) as peer:
        if accepted:
            assert client().get_json(peer.url).status == 200
        else:
            assert details(failure(client().get_json, peer.url)) == ("provider_answer", 200)


@each("coding", ["deflate", "br", "zstd", "identity, gzip", "gzip, gzip", "compress"])
def test_row_39_compressed_though_not_asked_for(coding: str) -> None:
    """A coding that we did not accept is refused, not unpacked; but for gzip."""
    with Peer(says(answer(gzip.compress(b"{}"), Content_Encoding=coding))) as peer:
        assert details(failure(client().get_json, peer.url)) == ("provider_answer", 200)


@each("coding", ["gzip", "GZIP", " x-gzip "])
def test_gzip_is_read_though_not_asked_for(coding: str) -> None:
    """A proxy in front of the login service may compress whatever it is told; a mark may stand in front inside."""
    body = gzip.compress("\ufeff{}".encode())
    chunked = b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with Peer(says(answer(body, Content_Encoding=coding)), says(HEAD + chunked)) as peer:
        assert client().get_json(peer.url).document == {}
        assert client().get_json(peer.url).document == {}


PACKED = gzip.compress(b'{"a": 1}')


@each(
    "body",
    [b"", b"{}", PACKED[:-1], PACKED[:-9], PACKED[2:], PACKED + b"x", PACKED + PACKED, PACKED[:-8] + b"\0" * 8],
)
def test_gzip_that_is_none_is_refused(body: bytes) -> None:
    """Cut off, garbled, with something behind it, or with a checksum that is wrong."""
    with Peer(says(answer(body, Content_Encoding="gzip"))) as peer:
        assert details(failure(client().get_json, peer.url)) == ("provider_answer", 200)


@pytest.mark.parametrize(("size", "accepted"), [(64 * KIB, True), (64 * KIB + 1, False)])
def test_row_39_where_the_cap_is_for_gzip(size: int, accepted: bool) -> None:
    """The cap is on what is unpacked."""
    body = gzip.compress(b'{"a":"' + b"x" * (size - 8) + b'"}')
    with Peer(says(answer(body, Content_Encoding="gzip"))) as peer:
        if accepted:
            assert client().get_json(peer.url).status == 200
        else:
            assert details(failure(client().get_json, peer.url)) == ("provider_answer", 200)


@each("body", [b"{}", b'{"success": true}', b'{"a": 1}   ', gzip.compress(b"{}")])
@each("missing", [1, 2, 5000])
def test_an_answer_shorter_than_its_length_is_not_believed(body: bytes, missing: int) -> None:
    """A connection that broke: what came may be whole by chance alone."""
    coding = b"Content-Encoding: gzip\r\n" if body[:1] != b"{" else b""
    head = HEAD + coding + b"Content-Length: %d\r\n\r\n" % (len(body) + missing)
    with Peer(says(head + body)) as peer:
        assert details(failure(client().get_json, peer.url)) == ("provider_answer", 200)


def test_a_mark_in_front_is_ignored() -> None:
    """A byte order mark, as some servers' files have it."""
    with Peer(says(answer('{"success": true}'.encode("utf-8-sig")))) as peer:
        assert client().get_json(peer.url).document == {"success": True}


# ------------------------------------------------------------------------------------------------ redirects


@each("status", [300, 301, 302, 303, 304, 307, 308])
def test_row_40_no_redirect_is_followed(status: int) -> None:
    """One request is seen, here and nowhere else: a 307 would send the secret again."""
    with Peer(GOOD) as other:
        redirect = says(answer(b"{}", f"{status} Moved", Location=f"{other.url}/there"))
        with Peer(redirect) as peer:
            error = failure(client().post_form, f"{peer.url}/a", {"app_secret": SECRET})
    assert details(error) == ("provider_answer", status)
    assert (len(peer.requests), peer.connections, other.connections) == (1, 1, 0)


# ----------------------------------------------------------------------------------------------------- JSON


@each(
    "body",
    [
        pytest.param(b"<!doctype html><title>Oops</title>", id="HTML"),
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="true"),
        pytest.param(b'"success"', id="text"),
        pytest.param(b'[{"success": true}]', id="list"),
        pytest.param(b"[" * 60_000, id="deep lists, open"),
        pytest.param(b"[" * 30_000 + b"]" * 30_000, id="deep lists"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="deep objects"),
        pytest.param(b'{"success": true, "success": true}', id="a name twice"),
        pytest.param(b'{"info": {"id": 1, "\\u0069d": 2}}', id="a name twice inside, spelled otherwise"),
        pytest.param('{"success": true}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"success": true}'.encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(b"\xef\xbb\xbf" + '{"success": true}'.encode("utf-8-sig"), id="two marks"),
        pytest.param(b'{"a": "b"}\xef\xbb\xbf', id="a mark at the end"),
        pytest.param(b'{"a": "\xff"}', id="Latin-1"),
        pytest.param(b'{"a": "\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": -Infinity}', id="Infinity"),
        pytest.param(b'{"a": 1e999}', id="a number beyond all"),
        pytest.param(b'{"a": %s}' % (b"9" * 60_000), id="a number of 60,000 digits"),
        pytest.param(b'{"a": 1} {}', id="two documents"),
        pytest.param(b'{"a": 1', id="half a document"),
        pytest.param(b"{'a': 1}", id="Python"),
    ],
)
def test_row_41_makes_no_sense(body: bytes) -> None:
    """Nothing but one JSON object in UTF-8 is an answer."""
    with Peer(says(answer(body))) as peer:
        error = failure(client().get_json, peer.url)
    assert details(error) == ("provider_answer", 200)


def test_row_41_a_hundred_thousand_brackets() -> None:
    """Longer than the cap, and so never parsed."""
    with Peer(says(answer(b"[" * 100_000))) as peer:
        assert failure(client().get_json, peer.url).reason == "provider_answer"


@each("status", [200, 201, 400, 403, 404, 499])
def test_the_status_is_the_callers(status: int) -> None:
    """An object is handed over with its status: what that means is the protocol's affair."""
    with Peer(says(json_answer({"error": "x"}, f"{status} Any"))) as peer:
        got = client().get_json(peer.url)
    assert (got.status, got.document) == (status, {"error": "x"})
    assert "x" not in repr(got)


# ------------------------------------------------------------------------------------------ overload, errors


@each(
    ("header", "seconds"),
    [
        ({"Retry_After": "17"}, 17),
        ({"Retry_After": "0"}, 1),
        ({"Retry_After": "99999999"}, 3600),
        ({"Retry_After": "-5"}, 5),
        ({"Retry_After": "\xb2"}, 5),
        ({"Retry_After": "9" * 5000}, 5),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 5),
        ({}, 5),
    ],
)
@each("status", [429, 503])
def test_row_42_no_retry_storm(status: int, header: dict[str, str], seconds: int) -> None:
    """``Retry-After`` is handed on within bounds; the request is not repeated, even though nothing was read."""
    slow = drips(b" ", first=answer(b"", f"{status} Later", **header).replace(b"Length: 0", b"Length: 99"))
    with Peer(slow) as peer:
        error = failure(client().post_form, peer.url, {"a": "b"})
    assert details(error) == ("provider_unavailable", status)
    assert error.retry_after == seconds
    assert (len(peer.requests), peer.connections) == (1, 1)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(says(b""), id="closes"),
        pytest.param(says(b"HTTP/1.1 200 " + SECRET.encode() + b"\r\n\r\n" + SECRET.encode()), id="echoes"),
        pytest.param(says(SECRET.encode() + b"\r\n\r\n"), id="is not HTTP"),
        pytest.param(says(HEAD + SECRET.encode() + b"\r\n\r\n{"), id="sends bad headers"),
        pytest.param(says(answer(b"", f"500 {SECRET}")), id="fails"),
        pytest.param(hangs(), id="hangs"),
    ],
)
def test_no_secret_in_errors_and_logs(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a token in the address nor a word of the peer gets into an error, its chain, or any log."""
    caplog.set_level(logging.DEBUG)
    with Peer(script) as peer:
        asker = client(timeout_seconds=DEADLINE_SECONDS)
        error = failure(asker.get_json, peer.url, params={"access_token": SECRET}, headers={"X": SECRET})
    told = [*traceback.format_exception(error), repr(error), repr(vars(error)), repr(asker), caplog.text]
    assert SECRET not in "".join(told)
    assert (error.__cause__, error.__context__) == (None, None)


def test_other_users_of_urllib3_keep_their_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Only the threads of our exchanges are silent."""
    caplog.set_level(logging.DEBUG)
    with Peer(GOOD) as peer:
        client().get_json(peer.url)
        assert caplog.text == ""
        logging.getLogger("urllib3.connectionpool").debug("somebody else's")
    assert "somebody else's" in caplog.text


def test_ipv6_loopback() -> None:
    """``[::1]`` is this machine too."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert ipaddress.ip_address("::1").is_loopback
    with server:
        port = server.getsockname()[1]

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(json_answer({"v": 6}))

        thread = threading.Thread(target=serve)
        thread.start()
        assert client().get_json(f"http://[::1]:{port}/").document == {"v": 6}
        thread.join(10)
