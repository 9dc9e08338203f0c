"""The rules that the middleware, the server and ``LocalClef`` share: loopback, origins, same origin, redirect URLs."""

from __future__ import annotations

import argparse

import pytest
from support.cases import each

from clef_wsgi.base import command_line, redirect_rules, urls
from clef_wsgi.base.deadline import Exchange

REGISTERED = ("https://rp.example/cb", "http://localhost:8000/cb", "http://my_host/cb", "myapp://clef/done")


@each("host", ["localhost", "LOCALHOST", "www.localhost", "127.0.0.1", "127.8.8.8", "::1", "0:0:0:0:0:0:0:1"])
def test_loopback(host: str) -> None:
    """RFC 6761: the name, what is below it, and the addresses of this machine."""
    assert urls.is_loopback(host)


@each(
    "host",
    [
        *("", ".", "localhost.", "www.localhost.", "localhost..", "127.0.0.1.", "localhost.example", "notlocalhost"),
        *("127.1", "2130706433", "0x7f.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "10.0.0.1", "127.0.0.1.example"),
    ],
)
def test_not_loopback(host: str) -> None:
    """A host that some reader takes for another machine, a dot at its end included, is not this one."""
    assert not urls.is_loopback(host)


@each("base_url", ["http://localhost.", "http://localhost.:8000", "http://127.0.0.1."])
def test_base_url_has_no_dot_at_its_end(base_url: str) -> None:
    """Plain http is for loopback hosts as the server takes them, too."""
    with pytest.raises(ValueError, match="https"):
        urls.parse_site(base_url)


@each(
    ("headers", "same"),
    [
        ({"HTTP_SEC_FETCH_SITE": "same-origin"}, True),
        ({"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_ORIGIN": "https://rp.example"}, False),
        ({"HTTP_ORIGIN": "https://rp.example"}, True),
        ({"HTTP_ORIGIN": "http://rp.example"}, False),
        ({"HTTP_ORIGIN": "https://rp.example:8443"}, False),
        ({"HTTP_ORIGIN": "null", "HTTP_REFERER": "https://rp.example/"}, False),
        ({"HTTP_REFERER": "https://rp.example:443/page"}, True),
        ({"HTTP_REFERER": "http://rp.example/page"}, False),
        ({"HTTP_REFERER": "https://rp.example.evil.example/"}, False),
        ({"HTTP_REFERER": "https://rp.example@evil.example/"}, False),
        ({"HTTP_REFERER": "https://[rp.example/"}, False),
        ({}, False),
    ],
)
def test_same_origin(headers: dict[str, str], same: bool) -> None:
    """Row 19: the browser says so, https counts, and nothing said is no."""
    assert urls.is_same_origin(headers, "https://rp.example") is same


@each(
    "url",
    [
        *REGISTERED,
        "HTTPS://RP.example:443/cb",
        "https://rp.example:/cb?next=/x&y",
        "https://rp.example/cb?",
        "https://rp.example/cb?codes=1&estate=2",
        "http://my_host:80/cb?redirect_state=a;b",
        "https://rp.example/cb?" + "x" * (2048 - len("https://rp.example/cb?")),
    ],
)
def test_allowed(url: str) -> None:
    """S2, S3: the registered URLs, however a browser writes them, with any query."""
    assert redirect_rules.is_allowed(url, REGISTERED)


@each(
    "url",
    [
        *("", "/cb", "//rp.example/cb", "https:rp.example/cb", "https:/rp.example/cb", "https:///rp.example/cb"),
        *("http://rp.example/cb", "https://rp.example/CB", "https://rp.example/cb/", "https://rp.example/x/../cb"),
        *(
            "https://rp.example./cb",
            "https://rp.example:8443/cb",
            "https://rp.example:0/cb",
            "https://rp.example:65979/cb",
        ),
        *("https://rp.example:443x/cb", "https://rp.example\\@evil.example/cb", "https://a@rp.example/cb"),
        *("https://@rp.example/cb", "https://rp.example/cb#", "https://rp.example/cb\t", " https://rp.example/cb"),
        *(
            "https://rp.example%2f/cb",
            "https://rp.ex\u0430mple/cb",
            "https://[rp.example]/cb",
            "https://rp.example[::1]/cb",
        ),
        *("https://rp.example/cb?code=1", "https://rp.example/cb?x&%73tate=1", "https://rp.example/cb?x;code=1"),
        *("https://rp.example/cb?Code=1", "https://rp.example/cb?code[]=1", "https://rp.example/cb?+code=1"),
        *(
            "https://rp.example/cb?code%00x=1",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:clef/done",
            "myapp://clef",
        ),
        "https://rp.example/cb?" + "x" * (2049 - len("https://rp.example/cb?")),
    ],
)
def test_refused(url: str) -> None:
    """S6: no open redirect, and no answer that somebody else has put into the query."""
    assert not redirect_rules.is_allowed(url, REGISTERED)


@each(
    ("url", "web"),
    [("http://my_host:1/x", True), ("https://[::1]:8/x", True), ("myapp://x/", False), ("ftp://x/", False)],
)
def test_webhooks(url: str, web: bool) -> None:
    """A webhook is a web URL; one for a single login has the scheme, host and port of a registered URL."""
    assert redirect_rules.is_web_url(url) is web
    assert redirect_rules.is_on_domain(url, [url]) is web
    assert not redirect_rules.is_on_domain(url, ["https://rp.example/cb"])


@each(
    ("redirect_url", "page"),
    [
        ("https://photos.example.com/clef/callback", "https://photos.example.com/"),
        ("https://example.com:8443/app/clef/callback?next=1", "https://example.com:8443/app/"),
        ("https://example.com/oauth/clef_callback", "https://example.com/"),
        ("https://example.com", "https://example.com/"),
        ("myapp://clef", None),
        ("javascript:alert(1)", None),
        ("http:evil", None),
        ("", None),
    ],
)
def test_the_front_page_of_a_redirect_url(redirect_url: str, page: str | None) -> None:
    """The front page of a redirect URL is the mount prefix before the callback path, or the root; never a script."""
    assert redirect_rules.front_page(redirect_url) == page


def test_a_command_that_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command with code 1, and without a traceback."""

    def interrupted(arguments: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=interrupted)
    assert command_line.run(parser, []) == 1
    assert capsys.readouterr() == ("", "")


def test_what_fails_after_the_result_is_settled() -> None:
    """A result that is settled stands, whatever the rest of the exchange raises."""
    exchange: Exchange[str] = Exchange(10)

    def work() -> str:
        exchange.settle("answered")
        raise LookupError

    assert exchange.run(work) == "answered"
