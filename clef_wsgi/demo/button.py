"""Add the demo's own button to the server's sign-in page: it signs the demo person in, without a passkey.

It is here and not in the server, so that no setting of a server can bring it up; and it is refused for an
address that is not this machine's own. Beside it the page offers the invitation, as long as it works.
"""

from __future__ import annotations

from flask import Blueprint, Flask, Response, request
from jinja2 import BaseLoader, ChoiceLoader, DictLoader, PrefixLoader

from clef_wsgi.base.urls import is_loopback
from clef_wsgi.demo.processes import DemoError
from clef_wsgi.server.errors import LinkInvalid
from clef_wsgi.server.records import audit, enrolments
from clef_wsgi.server.web.authorization.flow import approve, late_url, read_request
from clef_wsgi.server.web.authorization.views import send_back
from clef_wsgi.server.web.support import context, cookies
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, see_other

PATH = "/demo/continue"

TEXTS = {
    "en": {
        "button": "Continue as the demo person",
        "what": "This button asks for no proof. It is there in the demo only.",
        "link": "Make a real passkey for the demo person",
    },
    "de": {
        "button": "Weiter als Demo-Person",
        "what": "Dieser Knopf verlangt keinen Nachweis. Es gibt ihn nur in der Demo.",
        "link": "Einen echten Passkey für die Demo-Person anlegen",
    },
}

SIGN_IN = """{% extends "server/sign_in.html" %}
{% block card %}
{{ super() }}
<form method="post" action="{{ demo.path }}{% if login %}?{{ login.query }}{% endif %}">
<input type="hidden" name="token" value="{{ form_token() }}">
<button>{{ demo.texts[lang].button }}</button>
</form>
<p class="soft">{{ demo.texts[lang].what }}
{% if demo.invites() %}<a href="{{ demo.invitation }}">{{ demo.texts[lang].link }}</a>{% endif %}</p>
{% endblock %}
"""


def add_button(app: Flask, *, person_id: int, secret: str) -> None:
    """Put the button on the sign-in page of a server that is on this machine alone.

    :param app: what ``clef_wsgi.server.create_app`` made.
    :param person_id: whom it signs in.
    :param secret: of that person's invitation.
    :raises DemoError: browsers elsewhere can reach the server.
    """
    check_place(app)
    _put_in_front(app, {"sign_in.html": SIGN_IN})
    app.jinja_env.globals["demo"] = {
        "path": PATH,
        "texts": TEXTS,
        "invitation": f"/enrol#{secret}",
        "invites": lambda: _works(secret),
    }
    app.register_blueprint(_blueprint(person_id))


def check_place(app: Flask) -> None:
    """:raises DemoError: browsers elsewhere can reach the server."""
    options = app.extensions[context.KEY].options
    if not is_loopback(options.host):
        raise DemoError(f"The demo's button is for http://localhost only, never for {options.origin}.")


def _put_in_front(app: Flask, templates: dict[str, str]) -> None:
    """Templates that replace the server's own, which stay available as ``server/NAME``."""
    server: BaseLoader = app.jinja_loader or DictLoader({})
    app.jinja_loader = ChoiceLoader([DictLoader(templates), PrefixLoader({"server": server}), server])


def _works(secret: str) -> bool:
    shared = context.server()
    with shared.database.reading() as connection:
        try:
            enrolments.find(connection, secret, now=shared.clock())
        except LinkInvalid:
            return False
    return True


def _blueprint(person_id: int) -> Blueprint:
    blueprint = Blueprint("demo", __name__)

    @blueprint.post(PATH)
    def continue_as_demo_person() -> Response:
        if not is_loopback(request.remote_addr or ""):
            raise PageError("not_found", 404)
        limit("sign_in")
        shared = context.server()
        with shared.database.writing() as connection:
            login = read_request(connection) if request.query_string else None
            session = cookies.sign_in(connection, person_id=person_id, passkey_id=None)
            who, address = f"person:{person_id}", context.request_address()
            audit.note(connection, actor=who, action="demo", subject=who, now=shared.clock(), address=address)
        if login is None:
            return see_other("/")
        login, url = approve(session)
        return see_other(url) if url == late_url(login) else send_back(login, url)

    return blueprint
