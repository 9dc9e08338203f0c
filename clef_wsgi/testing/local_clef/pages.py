"""Render the pages: text, one style sheet, no script, and nothing from elsewhere. All input is escaped here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from string import Template

from webob import Response

from clef_wsgi.base.urls import origin_of
from clef_wsgi.testing.local_clef.assets import BUTTON_SCRIPT, STYLE
from clef_wsgi.testing.local_clef.notifications import Delivery, Logout
from clef_wsgi.testing.local_clef.records import Login, Person

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

_OWN_FORMS = "; form-action 'self'"

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title - Local Clef</title>
<style>$style</style>
</head>
<body>
<header><b>Local Clef</b></header>
<main>
$content
</main>
<footer>A stand-in for a login service, on this computer only. Nobody is asked for a password.</footer>
</body>
</html>
""")


def button_script() -> Response:
    """Return the script that draws the login button as a link, where its own tag or a ``.clef-button`` stands."""
    headers = [("Content-Type", "text/javascript; charset=utf-8"), ("Cache-Control", "no-cache")]
    return Response(BUTTON_SCRIPT.encode(), headerlist=headers)


def approve(redirect_url: str, raw_query: str, people: Sequence[Person], here: Person | None) -> Response:
    """Ask who is signing in. The authorization request travels on in the form's address, just as it came."""
    others = [person for person in people if person != here]
    choices = [] if here is None else [_person_button(here, f"Continue as {here.first_name}", strong=True)]
    choices += [_person_button(person, person.first_name) for person in others]
    action = escape("/approve?" + raw_query)
    return _page(
        200,
        "Who are you?",
        f"<section><h1>Who are you?</h1><p>You are signing in to <b>{escape(origin_of(redirect_url) or '')}</b>.</p>"
        f'<form method="post" action="{action}">{"".join(choices)}</form></section>',
        # form-action covers all redirects that follow a form (CSP 3, section 6.4.1), those of the site's callback too
        leads_away=True,
    )


def overview(logins: Sequence[tuple[Person, Sequence[Login]]], here: Person | None) -> Response:
    """Show who is signed in where, each with the button."""
    sentence = "One press, and every site lets go." if logins else "Nobody is signed in at any site."
    cards = "".join(_login_card(person, where, person == here) for person, where in logins)
    return _page(200, "Log out everywhere", f"<h1>Log out everywhere</h1><p>{sentence}</p>{cards}")


def logout_done(name: str, logout: Logout) -> Response:
    """Show the outcome at each site."""
    who = escape(logout.person.first_name)
    sites = "".join(map(_delivery_item, logout.deliveries))
    outcomes = f"<ul>{sites}</ul>" if sites else "<p>There was no site to notify.</p>"
    again = "" if all(delivery.confirmed for delivery in logout.deliveries) else _again_form(name)
    content = f'<section role="status"><h1>{who} is logged out</h1>{outcomes}{again}</section>'
    return _page(200, "Logged out", content + '<p><a href="/">Who is signed in now</a></p>')


def error(status: int, sentence: str) -> Response:
    """Return an error page. ``sentence`` must hold nothing from outside."""
    return _page(status, "Not possible", f"<section><h1>Not possible</h1><p>{escape(sentence)}</p></section>")


def _person_button(person: Person, label: str, *, strong: bool = False) -> str:
    return (
        f'<button name="person" value="{escape(person.first_name)}"{" class=strong" if strong else ""}>'
        f"{_face(person)}<span>{escape(label)}"
        f"<small>{escape(person.email or 'no e-mail address')}</small></span></button>"
    )


def _face(person: Person) -> str:
    return f'<span class="face" aria-hidden="true">{escape(person.first_name[:1])}</span>'


def _login_card(person: Person, logins: Sequence[Login], here: bool) -> str:
    name = escape(person.first_name)
    sites = "".join(f'<li><a href="{escape(login.site)}">{escape(login.site)}</a></li>' for login in logins)
    note = "signed in, also in this browser, at" if here else "signed in at"
    return (
        f"<section><h2>{_face(person)}<span>{name}<small>{note}</small></span></h2><ul>{sites}</ul>"
        f'<form method="post" action="/log-out"><button class="strong plain" name="person" value="{name}">'
        f"Log {name} out everywhere</button></form></section>"
    )


def _delivery_item(delivery: Delivery) -> str:
    site = escape(delivery.site)
    return f'<li><a href="{site}">{site}</a>{_outcome(delivery)}</li>'


def _outcome(delivery: Delivery) -> str:
    if delivery.confirmed:
        took = f"in {delivery.seconds:.2f} s"
        return f'<span class="good">&#10003; confirmed</span> <span class="soft">{took}</span>'
    if delivery.url is None:
        return '<span class="bad">not notified: it has no logout webhook</span>'
    why = "did not answer" if delivery.status is None else f"answered {delivery.status}"
    if delivery.answered:
        why += ", but never asked who logged out"
    return f'<span class="bad">&#10007; {why}</span> <span class="soft">after {delivery.seconds:.2f} s</span>'


def _again_form(name: str) -> str:
    return (
        '<form method="post" action="/send-again">'
        f'<button class="strong plain" name="name" value="{escape(name)}">Send again</button></form>'
    )


def _page(status: int, title: str, content: str, *, leads_away: bool = False) -> Response:
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}'; "
        f"base-uri 'none'; frame-ancestors 'none'{'' if leads_away else _OWN_FORMS}"
    )
    body = _PAGE.substitute(title=escape(title), style=STYLE, content=content).encode()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "same-origin"),  # with no-referrer a form of ours would say "Origin: null"
    ]
    return Response(body, status=status, headerlist=headers)
