"""Check the deployed site from outside: requests have to reach the middleware as they were sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from clef_wsgi.base.urls import Site, origin_of
from clef_wsgi.check.findings import About, Finding
from clef_wsgi.check.http_probe import Reply, SilenceError, Stranger
from clef_wsgi.settings import Deployment

SITE = About("site")
AS_SCRIPT = {"Accept": "application/json"}
AS_PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FOREIGN = {**AS_SCRIPT, "Origin": "https://login.invalid"}
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class _Place:
    """The deployed site and where its endpoints are, by these settings."""

    site: Site
    stranger: Stranger
    callback: str
    webhook: str
    login: str


def findings(deployment: Deployment, ca_file: str | None = None) -> Iterator[Finding]:
    """Yield the findings about the deployed site.

    :param ca_file: PEM file with the certificates to trust, instead of the usual authorities.
    """
    options, site = deployment.checked, deployment.checked.site
    urls = map(site.url, (options.callback_path, options.webhook_path, options.login_path))
    place = _Place(site, Stranger(ca_file), *urls)
    looks: tuple[Callable[[_Place], Iterator[Finding]], ...] = (
        _webhook,
        _mount,
        _notification,
        _callback,
        _login,
        _home,
        _plain_http,
    )
    try:
        for look in looks:
            yield from look(place)
    except SilenceError as error:
        yield SITE.error(
            f"{site.home} can't be asked: {error.message}.",
            "Run this where people are; see that the name, the port and the certificate are right.",
        )


def _webhook(place: _Place) -> Iterator[Finding]:
    reply = place.stranger.ask("GET", place.webhook, AS_SCRIPT)
    if _is_ours(reply):
        yield SITE.ok(f"{place.webhook} is answered by this middleware.")
    else:
        yield _stranger(place.webhook, reply)


def _is_ours(reply: Reply) -> bool:
    return reply.status == 405 and reply.content.get("error") == "method_not_allowed"


def _mount(place: _Place) -> Iterator[Finding]:
    """Check the mount prefix, which has to be stripped once: nothing of the site may answer below it twice."""
    prefix = place.site.prefix
    if not prefix or not _is_ours(place.stranger.ask("GET", place.webhook, AS_SCRIPT)):
        return
    twice = place.webhook.replace(prefix, prefix * 2, 1)
    if _is_ours(place.stranger.ask("GET", twice, AS_SCRIPT)):
        yield SITE.error(
            f"{twice} is the webhook too: something takes {prefix} off more than once, and addresses have no limit.",
            f"Let either the front or the server take {prefix} off, once.",
        )
    else:
        yield SITE.ok(f"The path {prefix} is taken off once.")


def _notification(place: _Place) -> Iterator[Finding]:
    """Send a back-channel logout request as the provider does: from elsewhere, without cookie and CSRF token."""
    reply = place.stranger.ask("POST", place.webhook, FOREIGN, {"logout_token": ""})
    if reply.status == 400 and reply.content.get("error") == "malformed_form":
        yield SITE.ok("A POST from another place reaches the webhook without a CSRF token.")
    elif reply.status in _REDIRECTS:
        yield _stranger(place.webhook, reply)
    else:
        yield SITE.error(
            f"Something in front refuses the login service's POST with {reply.status}: no logout arrives here.",
            f"Let POST {urlsplit(place.webhook).path} through without CSRF token, password and captcha.",
        )


def _callback(place: _Place) -> Iterator[Finding]:
    first, second = (
        place.stranger.ask("GET", place.callback, AS_SCRIPT),
        place.stranger.ask("GET", place.callback, AS_SCRIPT),
    )
    if first.status != 400 or first.content.get("error") != "malformed_callback":
        yield _stranger(place.callback, first)
        return
    yield SITE.ok(f"{place.callback} is answered by this middleware.")
    # Each answer has a reference of its own.
    if first.body == second.body or "age" in second.headers:
        yield SITE.error(
            "Something in front keeps answers and gives them to others: a login could reach the wrong person.",
            "Let it keep nothing that says Cache-Control: no-store, private, or Vary: Cookie.",
        )
    elif "no-store" not in first.headers.get("cache-control", ""):
        yield SITE.error(
            "Something in front takes Cache-Control: no-store away from answers.",
            "Let it leave that header alone.",
        )
    else:
        yield SITE.ok("Nothing in front keeps answers: two were different.")


def _login(place: _Place) -> Iterator[Finding]:
    reply = place.stranger.ask("GET", place.login, AS_PAGE)
    if reply.status != 303:
        yield _stranger(place.login, reply)
        return
    told = parse_qs(urlsplit(reply.location).query)
    addresses = {*told.get("redirect_url", []), *told.get("redirect_uri", [])}
    if addresses and addresses != {place.callback}:
        yield SITE.error(
            "The deployed site sends people back to another address than these settings say.",
            "Deploy these settings, and register the address at the login service.",
        )
    else:
        yield SITE.ok("A login starts, and will come back to this address.")
    yield _cookie(place, reply)


def _cookie(place: _Place, reply: Reply) -> Finding:
    cookie = reply.headers.get("set-cookie", "")
    flags = {part.strip().lower() for part in cookie.split(";")}
    if not cookie:
        return SITE.error("Something in front takes the session's cookie away: nobody can sign in.", "Let it pass.")
    if "httponly" not in flags or (place.site.is_https and "secure" not in flags):
        return SITE.error(
            "The session's cookie arrives without HttpOnly or Secure.",
            "Deploy these settings, and let nothing in front rewrite cookies.",
        )
    return SITE.ok("The session's cookie arrives as it was set.")


def _home(place: _Place) -> Iterator[Finding]:
    """Check the addresses that the app itself builds."""
    reply = place.stranger.ask("GET", place.site.home, AS_PAGE)
    host = re.escape(place.site.origin.partition("://")[2])
    if not place.site.is_https:
        yield SITE.warning("The site is plain http, which is for this machine only.", "Let it be https elsewhere.")
    elif re.search(
        rb"http://" + host.encode() + rb"(?![\w.:-])", reply.location.encode("latin-1", "replace") + reply.body
    ):
        yield SITE.error(
            "The app builds http addresses, though the site is https: it does not know what is in front of it.",
            "Let the front send X-Forwarded-Proto, and the server trust it, so that wsgi.url_scheme is https.",
        )
    else:
        yield SITE.ok("The front page has no http address of the site.")


def _plain_http(place: _Place) -> Iterator[Finding]:
    """Check the answer of the same name without TLS; there need be none."""
    if not place.site.is_https or urlsplit(place.site.origin).port:
        return
    try:
        reply = place.stranger.ask("GET", place.site.home.replace("https:", "http:", 1), AS_PAGE)
    except SilenceError:
        yield SITE.ok("Nothing answers over plain http.")
        return
    if reply.status in _REDIRECTS and reply.location.startswith("https://"):
        yield SITE.ok("Plain http leads to https.")
    else:
        yield SITE.warning(
            "The site answers over plain http too: there a login can be read and taken over.",
            "Let plain http redirect to https, and nothing else.",
        )


def _stranger(url: str, reply: Reply) -> Finding:
    """Find that something else answers where the middleware should."""
    if reply.status in _REDIRECTS:
        origin = origin_of(reply.location) or "another path"
        sentence = f"Something in front redirects {url} ({reply.status}, to {origin})."
        return SITE.error(
            sentence, "Let base_url be the address that answers without a redirect, slash at its end included."
        )
    if reply.status in (401, 403):
        return SITE.error(f"Something in front refuses {url} ({reply.status}).", "Let this path through to the site.")
    if reply.content.get("error") == "prefix_not_stripped":
        return SITE.error(
            f"{url} reaches the site with base_url's path still in PATH_INFO: nothing would be protected.",
            "Let the front strip that path (in nginx a slash behind proxy_pass's address), or set SCRIPT_NAME to it.",
        )
    if reply.status >= 500:
        return SITE.error(
            f"{url} fails ({reply.status}).", "Look into the log of the site, and of what is in front of it."
        )
    return SITE.error(
        f"{url} is answered by something else ({reply.status}).",
        "Let base_url have the path the app is mounted at, and deploy these settings.",
    )
