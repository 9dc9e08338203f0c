"""A small Django site: Django's own users, made at the first login, a public page and a page for members.

``python django_app.py`` runs it on this machine, with a login service that asks for no proof. With your own::

    CLEF_WSGI_BASE_URL=https://www.example.com CLEF_WSGI_SESSION__SECRET=... DATA_DIR=data \\
    CLEF_WSGI_PROVIDER__SERVER_URL=https://login.example.com \\
    CLEF_WSGI_PROVIDER__APP_ID=... CLEF_WSGI_PROVIDER__APP_SECRET=... gunicorn "django_app:app_from_environ()"

In a project of several files ``configure`` is settings.py, and what ``create_app`` returns is wsgi.py's application.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse

from clef_wsgi import ClefProvider, IdentityProvider, LogoutStore, SQLiteLogoutStore, wrap

WSGIApp = Callable[..., Iterable[bytes]]


class LoginSessionMiddleware(SessionMiddleware):  # type: ignore[misc]  # Django ships no types
    """Django's session, for one login only, and put aside while logins can't be checked.

    Without the first, what one person left in the session would be the next person's. Without the second,
    RemoteUserMiddleware would empty the session at each outage; and PersistentRemoteUserMiddleware, which does
    not, keeps everybody in who logged out.
    """

    def process_request(self, request: HttpRequest) -> None:
        login = request.environ["clef.login"]
        if login.error:
            request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        super().process_request(request)
        if not login.error and request.session.get("login") != login.id:
            request.session.flush()
            if login.id:
                request.session["login"] = login.id


def configure(*, base_url: str, secret: str, database: str) -> None:
    """Django's settings, as far as they matter here."""
    is_https = base_url.startswith("https:")
    settings.configure(
        SECRET_KEY=secret,
        ALLOWED_HOSTS=[urlsplit(base_url).hostname],
        CSRF_TRUSTED_ORIGINS=["{0.scheme}://{0.netloc}".format(urlsplit(base_url))],
        CSRF_COOKIE_SECURE=is_https,
        SESSION_COOKIE_SECURE=is_https,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        MIDDLEWARE=[
            f"{__name__}.LoginSessionMiddleware",  # in place of Django's SessionMiddleware
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.RemoteUserMiddleware",
        ],
        # finds the user named REMOTE_USER, or makes one
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [("django.template.loaders.locmem.Loader", {"page.html": PAGE})],
                    "context_processors": ["django.contrib.auth.context_processors.auth", f"{__name__}.login_button"],
                },
            }
        ],
    )


def create_app(
    *, provider: IdentityProvider, logout_store: LogoutStore, base_url: str, session: dict[str, Any], database: str
) -> WSGIApp:
    """The site. ``session`` holds Beaker's options, ``secret`` at least; ``database`` is a file of SQLite's."""
    if not settings.configured:
        configure(base_url=base_url, secret=session["secret"], database=database)
        django.setup()
        call_command("migrate", verbosity=0)
    return wrap(
        get_wsgi_application(),
        provider=provider,
        logout_store=logout_store,
        base_url=base_url,
        session=session,
        protect=["/account"],
        remote_user="id",
        store_failure="anonymous",  # the public pages stay up while logins can't be checked
    )


def copy_name(request: HttpRequest, user: Any, **more: Any) -> None:
    """At each login: Django's user is found by ``id``, and learns what the person is called now."""
    clef_user = request.META.get("clef.user")
    if clef_user:
        user.first_name = clef_user.get("first_name", "")[:150]
        user.save(update_fields=["first_name"])


user_logged_in.connect(copy_name)


def login_button(request: HttpRequest) -> dict[str, Any]:
    """For every template, the button that fits."""
    login = request.environ["clef.login"]
    button = login.sign_out_button(reverse("home")) if request.user.is_authenticated else login.button()
    return {"login_button": button}


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html")


def account(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        request.session["note"] = request.POST.get("note", "")
        return redirect("account")
    return render(request, "page.html", {"account": True, "note": request.session.get("note", "")})


urlpatterns = [path("", home, name="home"), path("account", account, name="account")]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>A Django site</title>
<style>:root { color-scheme: light dark } body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem;
  font: 1.1rem/1.5 system-ui, sans-serif } nav { display: flex; gap: 1.5rem; align-items: baseline }
  input, button { font: inherit }</style>
<nav><a href="{% url 'home' %}">Home</a> <a href="{% url 'account' %}">Account</a> {{ login_button }}</nav>
<main>{% if account %}<h1>Your account</h1>
<dl><dt>Member number</dt><dd>{{ user.pk }}</dd><dt>Note</dt><dd>{{ note }}</dd></dl>
<form method="post">{% csrf_token %}
<label>Note <input name="note" required></label> <button>Keep it</button></form>
{% else %}<h1>Hello, {% firstof user.first_name "visitor" %}.</h1>{% endif %}</main></html>
"""


def app_from_environ() -> WSGIApp:
    """The site as the environment describes it; its files are in ``DATA_DIR``."""
    data = Path(os.environ["DATA_DIR"])
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return create_app(
        provider=ClefProvider(
            server_url=os.environ["CLEF_WSGI_PROVIDER__SERVER_URL"],
            app_id=os.environ["CLEF_WSGI_PROVIDER__APP_ID"],
            app_secret=os.environ["CLEF_WSGI_PROVIDER__APP_SECRET"],
        ),
        logout_store=SQLiteLogoutStore(data / "logouts.db"),
        base_url=os.environ["CLEF_WSGI_BASE_URL"],
        session={"secret": os.environ["CLEF_WSGI_SESSION__SECRET"], "type": "file", "data_dir": str(data / "sessions")},
        database=str(data / "members.db"),
    )


def main() -> None:
    """Serves the site; without settings on this machine, with a login service that asks for no proof."""
    from waitress import serve

    from clef_wsgi.testing import LocalClef

    url = os.environ.setdefault("CLEF_WSGI_BASE_URL", "http://localhost:8000")
    with ExitStack() as stack:
        if "CLEF_WSGI_PROVIDER__SERVER_URL" not in os.environ:
            clef = stack.enter_context(LocalClef())
            os.environ["CLEF_WSGI_PROVIDER__SERVER_URL"] = clef.url
            os.environ["CLEF_WSGI_PROVIDER__APP_ID"] = clef.app_id
            os.environ["CLEF_WSGI_PROVIDER__APP_SECRET"] = clef.app_secret
            os.environ["CLEF_WSGI_SESSION__SECRET"] = secrets.token_urlsafe(32)
            os.environ["DATA_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
            print(f"Log out everywhere at {clef.url}", flush=True)
        print(f"Open {url}", flush=True)
        serve(app_from_environ(), host="localhost", port=urlsplit(url).port or 8000, threads=8)


if __name__ == "__main__":
    main()
