"""A small Django site: Django's own users, made at the first login, a page for members, and the admin.

``pip install django waitress``, then ``python django_app.py`` runs it on this machine, with a login service that
asks for no proof. With your own::

    CLEF_WSGI_BASE_URL=https://www.example.com CLEF_WSGI_SESSION__SECRET=... DATA_DIR=data \\
    CLEF_WSGI_PROVIDER__SERVER_URL=https://login.example.com \\
    CLEF_WSGI_PROVIDER__APP_ID=... CLEF_WSGI_PROVIDER__APP_SECRET=... gunicorn "django_app:app_from_environ()"

or ``CLEF_WSGI_PROVIDER=oidc`` with ``CLEF_WSGI_PROVIDER__ISSUER``, ``..._CLIENT_ID`` and ``..._CLIENT_SECRET``.

Who has logged in once is made staff with the same environment; the id is on the account page::

    python django_app.py staff ID

In a project of several files ``configure`` is settings.py, and what ``create_app`` returns is wsgi.py's application.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db.models.signals import pre_save
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse

from clef_wsgi import IdentityProvider, LogoutStore, settings_from_environ, wrap
from clef_wsgi.django import login_required
from clef_wsgi.settings import load

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


def copy_name(request: HttpRequest, user: Any, **more: Any) -> None:
    """At each login: Django's user is found by ``id``, and learns what the person is called now."""
    clef_user = request.META.get("clef.user")
    if clef_user:
        user.first_name = clef_user.get("first_name", "")[:150]
        user.save(update_fields=["first_name"])


def no_password(instance: Any, **more: Any) -> None:
    """A user that Django makes at the first login has a password that nothing is."""
    if not instance.password:
        instance.set_unusable_password()


def end_login(request: HttpRequest, **more: Any) -> None:
    """Django's ``logout()``, which the admin's "Log out" calls, ends the login too; else it would be back at once."""
    if request.environ["clef.user"]:
        request.environ["clef.login"].end()


user_logged_in.connect(copy_name)
user_logged_out.connect(end_login)
pre_save.connect(no_password, sender="auth.User")


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
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "django.contrib.staticfiles",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            f"{__name__}.LoginSessionMiddleware",  # in place of Django's SessionMiddleware
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.RemoteUserMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        # finds the user named REMOTE_USER, or makes one
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
        # In the session, which is emptied with the login: a cookie of their own would show them to the next person.
        MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
        STATIC_URL="/static/",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [
                        ("django.template.loaders.locmem.Loader", {"page.html": PAGE}),
                        "django.template.loaders.app_directories.Loader",
                    ],
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                        f"{__name__}.login_button",
                    ],
                },
            }
        ],
    )


def set_up(*, base_url: str, secret: str, database: str) -> None:
    """Django itself, and its tables."""
    if not settings.configured:
        configure(base_url=base_url, secret=secret, database=database)
        django.setup()
        call_command("migrate", verbosity=0)
        urlpatterns.append(path("admin/", admin_urls()))


def create_app(
    *,
    provider: IdentityProvider,
    logout_store: LogoutStore,
    base_url: str,
    session: dict[str, Any],
    database: str,
    **options: Any,
) -> WSGIApp:
    """The site. ``session`` holds Beaker's options, ``secret`` at least; ``options`` are those of ``wrap``.

    :param database: a file of SQLite's.
    """
    set_up(base_url=base_url, secret=session["secret"], database=database)
    # The admin's style sheets; a web server in front does this better.
    from django.contrib.staticfiles.handlers import StaticFilesHandler

    return wrap(
        StaticFilesHandler(get_wsgi_application()),
        provider=provider,
        logout_store=logout_store,
        base_url=base_url,
        session=session,
        # the public pages stay up while logins can't be checked
        **{"protect": ["/account", "/admin"], "remote_user": "id", "store_failure": "anonymous", **options},
    )


def admin_urls() -> Any:
    """Django's admin without its password forms, since no password works here."""
    from django.contrib import admin
    from django.contrib.auth.admin import UserAdmin
    from django.contrib.auth.models import User

    @login_required
    def staff_only(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Replace the admin's login page: a member who is no staff gets a 403, not a redirect loop."""
        if not admin.site.has_permission(request):
            raise PermissionDenied
        return redirect("admin:index")

    def no_passwords(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404("Nobody has a password here.")

    class People(UserAdmin):  # type: ignore[misc]
        fieldsets = ((None, {"fields": ("username",)}), *UserAdmin.fieldsets[1:])
        readonly_fields = ("username",)
        user_change_password = staticmethod(no_passwords)

        def has_add_permission(self, request: HttpRequest) -> bool:
            return False  # a user is made at the person's first login

    admin.site.login, admin.site.password_change = staff_only, no_passwords
    admin.site.unregister(User)
    admin.site.register(User, People)
    return admin.site.urls


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
<dl><dt>Member number</dt><dd>{{ user.pk }}</dd><dt>Id</dt><dd>{{ user.username }}</dd>
<dt>Note</dt><dd>{{ note }}</dd></dl>
<form method="post">{% csrf_token %}
<label>Note <input name="note" required></label> <button>Keep it</button></form>
{% else %}<h1>Hello, {% firstof user.first_name "visitor" %}.</h1>{% endif %}</main></html>
"""


def data_folder() -> Path:
    data = Path(os.environ["DATA_DIR"])
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return data


def make_staff(user_id: str) -> None:
    """Make a member who has logged in once a member of staff, with every right."""
    database = str(data_folder() / "members.db")
    set_up(base_url=os.environ["CLEF_WSGI_BASE_URL"], secret=os.environ["CLEF_WSGI_SESSION__SECRET"], database=database)
    from django.contrib.auth.models import User

    found = User.objects.filter(username=user_id).update(is_staff=True, is_superuser=True)
    sys.exit(None if found else f"Nobody with the id {user_id} has logged in yet.")


def app_from_environ() -> WSGIApp:
    """The site with the settings of the environment. Logouts and sessions are in files, in ``DATA_DIR``."""
    data = data_folder()
    logouts = {"store": "sqlite", "store.path": str(data / "logouts.db")}
    sessions = {"session.type": "file", "session.data_dir": str(data / "sessions")}
    found = load({"provider": "clef", **logouts, **sessions, **settings_from_environ(os.environ)})
    return create_app(
        provider=found.provider,
        logout_store=found.logout_store,
        session=dict(found.session or {}),
        database=str(data / "members.db"),
        **found.options,
    )


def main() -> None:
    """Serve the site; without settings on this machine, with a login service that asks for no proof."""
    from waitress import serve

    from clef_wsgi.testing import LocalClef

    url = os.environ.setdefault("CLEF_WSGI_BASE_URL", "http://localhost:8000")
    with ExitStack() as stack:
        if not any(name.startswith("CLEF_WSGI_PROVIDER") for name in os.environ):
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
    make_staff(sys.argv[2]) if sys.argv[1:2] == ["staff"] else main()
