"""Sending one notification: SSRF rules, accepted answers, time limits and back-off."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from support.certificates import self_signed
from support.login_server import NOON
from support.peers import Peer, Script, answer, drips, floods, hangs, says

from clef_wsgi.base.deadline import THREAD_NAME, AddressRefused, Exchange
from clef_wsgi.server.clock import DAY, HOUR, MINUTE, SECOND
from clef_wsgi.server.delivery import failures
from clef_wsgi.server.delivery.address import is_public, parsed
from clef_wsgi.server.delivery.backoff import LONGEST_DELAY, PERIOD, next_try, wished_delay
from clef_wsgi.server.delivery.call import MAX_BODY, AttemptResult, call
from clef_wsgi.server.texts import LANGUAGES, failure_text

TOKEN = "a-token-of-43-characters-that-nobody-guesses"
SOON = 0.4
"""Seconds for a call that is to be cut."""

FAR = 8.0
"""Seconds that no call of these tests may take, on a busy machine either."""


def tell(url: str, *, allow_private: bool = True, seconds: float = FAR, **options: Any) -> AttemptResult:
    return call(url, TOKEN, user_agent="Clef/1.0 (test)", allow_private=allow_private, seconds=seconds, **options)


def resolving_to(*addresses: str) -> Any:
    """A resolver that knows these addresses for every name."""

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 0, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    return resolve


# --- addresses


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.5"),
        *("169.254.169.254", "100.64.0.1", "100.127.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1"),
        *("ff02::1", "fec0::1", "2001:db8::1", "100::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::"),
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        *("192.88.99.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.255", "3fff::1", "3fff:fff::1"),  # row 98
        *("2001:4860::5efe:7f00:1", "2001:4860::200:5efe:a00:1", "2001:4860:1:2:0:5efe:808:808"),
        *("::ffff:192.88.99.1", "64:ff9b::c000:8", "2002:c058:6301::1", "5f00::1", "4000::1", "100:0:0:1::1"),
    ],
)
def test_row_63_addresses_that_are_not_public(address: str) -> None:
    """Row 63, row 98: private, loopback, link-local, shared, multicast, reserved; and IPv4 ones inside of IPv6."""
    assert not is_public(parsed(address))


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_addresses_that_are_public(address: str) -> None:
    """Globally routable addresses are public."""
    assert is_public(parsed(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]"])
def test_row_63_a_webhook_on_this_machine_is_refused_when_it_is_called(host: str) -> None:
    """Row 63: however the address is written; nothing is connected to."""
    with Peer(says(answer(b""))) as peer:
        assert tell(f"http://{host}:{peer.port}/", allow_private=False) == AttemptResult(failure="refused_address")
        assert peer.connections == 0


def test_row_63_allowed_for_an_app_that_was_added_so() -> None:
    """``--allow-private`` means it."""
    with Peer(says(answer(b""))) as peer:
        assert tell(f"http://127.0.0.1:{peer.port}/", allow_private=True) == AttemptResult(200)


def test_row_63_a_name_with_private_addresses_alone() -> None:
    """Row 63: a name counts by what it leads to."""
    with Peer(says(answer(b""))) as peer:
        resolve = resolving_to("127.0.0.1", "::1", "169.254.169.254")
        url = f"http://photos.example.com:{peer.port}/"
        assert tell(url, allow_private=False, resolve=resolve) == AttemptResult(failure="refused_address")
        assert peer.connections == 0


def test_row_63_a_name_that_rebinds() -> None:
    """Row 63: the address that was looked at is the one that is connected to; nobody asks again."""
    asked = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        public = [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("93.184.216.34", port))]  # connecting it sends nothing
        return public if len(asked) == 1 else resolving_to("127.0.0.1")(host, port)

    with Peer(says(answer(b""))) as peer:
        exchange: Exchange[None] = Exchange(
            FAR, may_connect=lambda address: is_public(parsed(address)), resolve=resolve
        )
        try:
            exchange.open_socket("rebinds.example.com", peer.port).close()
        except AddressRefused:
            pytest.fail("the public address was refused")
        except OSError:
            pass  # no way to the internet from here
        finally:
            exchange._end()
        assert (asked, peer.connections) == (["rebinds.example.com"], 0)


def test_the_next_address_is_tried() -> None:
    """Of several addresses the first one that answers is asked, once."""
    with Peer(says(answer(b""))) as peer:  # listens on 127.0.0.1 alone
        url = f"http://photos.example.com:{peer.port}/"
        assert tell(url, resolve=resolving_to("127.0.0.2", "127.0.0.1")) == AttemptResult(200)
        assert [request.headers["host"] for request in peer.requests] == [f"photos.example.com:{peer.port}"]


def test_a_name_without_an_address() -> None:
    """Its own code: the administrator has mistyped something, or DNS is down."""

    def resolve(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror

    assert tell("http://gone.example.com/", resolve=resolve) == AttemptResult(failure="no_address")


def test_a_look_up_that_hangs_is_cut() -> None:
    """The deadline covers the look-up of the name, which nothing else can interrupt."""
    release = threading.Event()

    def resolve(*_: Any, **__: Any) -> list[Any]:
        release.wait(FAR)
        return []

    assert tell("http://slow.example.com/", seconds=SOON, resolve=resolve) == AttemptResult(failure="timeout")
    release.set()


# --- what is sent


def test_s10_the_form_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """S10: a POST of ``logout_token``, the query kept; no cookie, no proxy or password of the environment."""
    Path(tmp_path, ".netrc").write_text("default login eve password secret\n")
    Path(tmp_path, ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Peer(says(answer(b"", "204 No Content", Set_Cookie="a=b"))) as peer:
        assert tell(f"http://{peer.netloc}/hook?site=1&x") == AttemptResult(204)
    (request,) = peer.requests
    assert (request.method, request.target) == ("POST", "/hook?site=1&x")
    assert request.form == {"logout_token": [TOKEN]}
    assert request.headers == {
        "host": peer.netloc,
        "user-agent": "Clef/1.0 (test)",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": str(len(request.body)),
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


# --- what counts as an answer


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (says(answer(b'{"success": true}')), AttemptResult(200)),
        (says(answer(b"", "204 No Content")), AttemptResult(204)),
        (says(answer(b"bye", "202 Accepted")), AttemptResult(202)),
        (says(answer(b"", "302 Found", Location="/")), AttemptResult(302)),
        (says(b"HTTP/1.1 200 OK\r\n\r\n"), AttemptResult(200)),
        (says(answer(b"", "500 Internal Server Error")), AttemptResult(500, "http_500")),
        (says(answer(b"", "410 Gone")), AttemptResult(410, "http_410")),
        (says(answer(b"", "503 Busy", Retry_After="120")), AttemptResult(503, "http_503", "120")),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n"), AttemptResult(failure="answer")),
        (says(b""), AttemptResult(failure="connection")),
    ],
)
def test_s12_what_counts_as_an_answer(script: Script, expected: AttemptResult) -> None:
    """S12: any 2xx or 3xx, whatever its body; nothing else."""
    with Peer(script) as peer:
        assert tell(peer.url) == expected


def test_s12_nobody_there() -> None:
    """S12: a connection that is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert tell(f"http://127.0.0.1:{port}/") == AttemptResult(failure="connection")


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"])
def test_row_65_no_redirect_is_followed(status: str) -> None:
    """Row 65: the token goes where the administrator said, and nowhere else."""
    with Peer(says(answer(b""))) as other, Peer(says(answer(b"", status, Location=other.url))) as peer:
        assert tell(peer.url) == AttemptResult(int(status[:3]))
        assert other.connections == 0


@pytest.mark.parametrize(
    "script",
    [
        hangs(),
        drips(b"HTTP/1.1 200 OK\r\n"),
        drips(b"X: y\r\n", first=b"HTTP/1.1 200 OK\r\n"),
        drips(b"HTTP/1.1 100 Continue\r\n\r\n", every_seconds=0.001),
    ],
)
def test_row_65_one_that_hangs_or_drips_is_cut(script: Script) -> None:
    """Row 65: the deadline is for the whole call, not for the next byte; the connection ends with it."""
    with Peer(script) as peer:
        began = time.monotonic()
        assert tell(peer.url, seconds=SOON) == AttemptResult(failure="timeout")
        assert time.monotonic() - began < FAR
        assert peer.ended.acquire(timeout=FAR)


@pytest.mark.slow
def test_a_body_that_drips_is_an_answer_all_the_same() -> None:
    """The body says nothing, so nobody waits for its end."""
    with Peer(drips(b"x", first=b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")) as peer:
        assert tell(peer.url, seconds=FAR) == AttemptResult(200)
        assert peer.ended.acquire(timeout=FAR)


def test_a_giant_answer_is_not_read() -> None:
    """A hundred megabytes are left where they are."""
    giant = floods(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"x" * MAX_BODY, 100_000_000)
    with Peer(giant) as peer:
        assert tell(peer.url) == AttemptResult(200)
        assert peer.ended.acquire(timeout=FAR)
        assert peer.talks[0].sent < 20_000_000  # what fits into the buffers of both sides


def test_a_giant_header_is_no_answer() -> None:
    """Nor are headers without end."""
    with Peer(floods(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 60_000 + b"\r\n", 100_000_000)) as peer:
        assert tell(peer.url) == AttemptResult(failure="answer")


def test_certificates_are_verified(tmp_path: Path) -> None:
    """A site that shows a certificate nobody vouches for is sent nothing; its name is checked, too."""
    certificate = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate.ca_file)
    with Peer(says(answer(b"")), tls=certificate.context) as peer:
        assert tell(f"https://localhost:{peer.port}/") == AttemptResult(failure="tls")
        assert tell(f"https://localhost:{peer.port}/", context=trusting) == AttemptResult(200)
        assert tell(f"https://127.0.0.1:{peer.port}/", context=trusting) == AttemptResult(failure="tls")
        assert [request.headers["host"] for request in peer.requests] == [peer.netloc]


def test_no_token_in_logs_and_texts(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong, the token and the site's own words stay out of the log."""
    caplog.set_level(logging.DEBUG)
    with Peer(says(b"HTTP/1.1 200 OK\r\nbad header of the site\r\n\r\n"), says(b"nonsense\r\n\r\n")) as peer:
        outcomes = [tell(peer.url), tell(peer.url)]
    assert [outcome.status for outcome in outcomes] == [200, None]
    assert TOKEN not in caplog.text + repr(outcomes)
    assert "bad header" not in caplog.text


@pytest.mark.slow
def test_no_thread_outlives_its_call() -> None:
    """There is one while it is under way, which ends when it is cut."""
    with Peer(hangs()) as peer, ThreadPoolExecutor(1) as pool:
        before = threads_of_calls()
        call = pool.submit(tell, peer.url, seconds=1.0)
        while not (running := threads_of_calls() - before) and not call.done():
            threading.Event().wait(0.005)
        assert len(running) == 1
        assert call.result(FAR).failure == "timeout"
        for thread in running:
            thread.join(FAR)
            assert not thread.is_alive()


def threads_of_calls() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == THREAD_NAME}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_failure_has_its_sentence(language: str) -> None:
    """Each code, and each status, can be said to people."""
    codes = [*failures.CODES[:-1], failures.of_status(503)]
    sentences = [failure_text(language, code) for code in codes]
    assert all(sentence.endswith((".", "?")) for sentence in sentences)
    assert "503" in failure_text(language, "http_503")


# --- when it is sent again


def delays(first: int, last: int, drawn: float = 0.0) -> list[int]:
    """Return the delay after each of these attempts, in seconds."""
    found = [next_try(number, now=NOON, first_tried_at=NOON, draw=lambda: drawn) for number in range(first, last + 1)]
    return [(at - NOON) // SECOND for at in found if at is not None]


def test_the_schedule() -> None:
    """After 1, 5, 15 and 60 seconds, then less and less often, at least once an hour."""
    assert delays(1, 12) == [1, 5, 15, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert delays(5, 12, drawn=1.0) == [96, 192, 384, 768, 1536, 2880, 2880, 2880]
    assert delays(1, 4, drawn=1.0) == delays(1, 4)
    assert delays(10_000, 10_000) == [3600]


def test_it_goes_on_for_three_days() -> None:
    """Then it is given up."""
    now, attempts = NOON, 0
    while (at := next_try(attempts := attempts + 1, now=now, first_tried_at=NOON)) is not None:
        now = at
    assert PERIOD - LONGEST_DELAY <= now - NOON <= PERIOD == 3 * DAY
    assert 72 <= attempts <= 120


@pytest.mark.parametrize(
    ("header", "delay"),
    [
        ("120", 120 * SECOND),
        (" 5 ", 5 * SECOND),
        ("0", 0),
        ("99999999999999", 0),
        ("86400", HOUR),
        (formatdate(NOON / SECOND + 90, usegmt=True), 90 * SECOND),
        (formatdate(NOON / SECOND - 90, usegmt=True), 0),
        (formatdate(NOON / SECOND + 1e6, usegmt=True), HOUR),
        *((text, 0) for text in ("-1", "soon", "", "1.5", "Thu, 99 Foo 2026 00:00:00 GMT")),
        ("\N{SUPERSCRIPT TWO}", 0),
        (None, 0),
    ],
)
def test_retry_after(header: str | None, delay: int) -> None:
    """Seconds or a date, at most an hour; what is neither is nothing."""
    assert wished_delay(header, NOON) == delay


def test_retry_after_makes_it_later_and_never_sooner() -> None:
    """The schedule's own delay is the least."""
    assert next_try(1, now=NOON, first_tried_at=NOON, retry_after="120") == NOON + 2 * MINUTE
    assert next_try(4, now=NOON, first_tried_at=NOON, retry_after="1") == NOON + MINUTE
