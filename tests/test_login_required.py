"""``login_required`` of each framework: with its real router, wrapped, and every kind of view it has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import bottle
import django.core.handlers.wsgi
import flask
import flask.views
import pytest
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View as DjangoView
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.testing import DummyRequest
from support.app import BASE_URL, Browser, FakeProvider, WSGIApp, browser, make_app

import clef_wsgi.bottle
import clef_wsgi.django
import clef_wsgi.flask
import clef_wsgi.pyramid
from clef_wsgi.login_required import answer_for, decorator

SCRIPT = {"Sec-Fetch-Mode": "cors", "Accept": "application/json"}
BEHIND = "only members read this"


def _bottle_app() -> WSGIApp:
    login_required, app = clef_wsgi.bottle.login_required, bottle.Bottle()

    class Pages:
        @login_required
        def method(self) -> str:
            return BEHIND

        def __call__(self) -> str:
            return BEHIND

    @login_required
    def function() -> str:
        return BEHIND

    @login_required()
    def called() -> str:
        return BEHIND

    @login_required
    def generator() -> Any:
        yield BEHIND

    for view in (function, called, generator):
        app.route(f"/{view.__name__}", ["GET", "POST"], view)
    app.route("/method", ["GET", "POST"], Pages().method)
    app.route("/class", ["GET", "POST"], login_required(Pages()))
    app.route("/plugin", ["GET", "POST"], Pages(), apply=[login_required])
    return app  # type: ignore[no-any-return]


def _flask_app() -> WSGIApp:
    login_required, app = clef_wsgi.flask.login_required, flask.Flask(__name__)
    both = {"methods": ["GET", "POST"]}

    class Pages(flask.views.MethodView):
        decorators = [login_required]  # noqa: RUF012 - as Flask's documentation has it

        def get(self) -> str:
            return BEHIND

        post = get

    class AsyncPages(flask.views.MethodView):
        decorators = [login_required]  # noqa: RUF012

        async def get(self) -> str:
            return BEHIND

        post = get

    class Methods(flask.views.MethodView):
        @login_required
        def get(self) -> str:
            return BEHIND

        @login_required
        async def post(self) -> str:
            return BEHIND

    @app.route("/function", **both)
    @login_required
    def function() -> str:
        return BEHIND

    @app.route("/called", **both)
    @login_required()
    def called() -> str:
        return BEHIND

    @app.route("/async", **both)
    @login_required
    async def coroutine() -> str:
        return BEHIND

    app.add_url_rule("/class", view_func=Pages.as_view("class"))
    app.add_url_rule("/async-class", view_func=AsyncPages.as_view("async-class"))
    app.add_url_rule("/method", view_func=Methods.as_view("method"))
    return app.wsgi_app


def _pyramid_app() -> WSGIApp:
    login_required = clef_wsgi.pyramid.login_required

    class Pages:
        def __init__(self, request: Any) -> None:
            self.request = request

        @login_required
        def method(self) -> Response:
            return Response(BEHIND)

        def __call__(self) -> Response:
            return Response(BEHIND)

    class WithContext(Pages):
        def __init__(self, context: Any, request: Any) -> None:
            super().__init__(request)

    @login_required
    def function(request: Any) -> Response:
        return Response(BEHIND)

    @login_required()
    def called(context: Any, request: Any) -> Response:
        return Response(BEHIND)

    @login_required
    def with_default(request: Any, more: str = BEHIND) -> Response:
        return Response(more)

    @login_required
    def rendered(request: Any) -> dict[str, str]:
        return {"text": BEHIND}

    with Configurator() as config:
        views: dict[str, dict[str, Any]] = {
            "function": {"view": function},
            "called": {"view": called},
            "default": {"view": with_default},
            "rendered": {"view": rendered, "renderer": "json"},
            "method": {"view": Pages, "attr": "method"},
            "context-method": {"view": WithContext, "attr": "method"},
            "class": {"view": Pages, "decorator": login_required},
            "context-class": {"view": WithContext, "decorator": login_required},
        }
        for name, view in views.items():
            config.add_route(name, f"/{name}")
            config.add_view(route_name=name, **view)
        app: WSGIApp = config.make_wsgi_app()
    return app


def _django_views() -> list[Any]:
    login_required = clef_wsgi.django.login_required

    class Pages(DjangoView):  # type: ignore[misc]  # Django ships no types
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(BEHIND)

        post = get

    class AsyncPages(DjangoView):  # type: ignore[misc]
        async def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(BEHIND)

        post = get

    class Methods(DjangoView):  # type: ignore[misc]
        @login_required
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(BEHIND)

        post = get

    class AsyncMethods(DjangoView):  # type: ignore[misc]
        @login_required
        async def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(BEHIND)

        post = get

    @login_required
    def function(request: HttpRequest) -> HttpResponse:
        return HttpResponse(BEHIND)

    @login_required()
    def called(request: HttpRequest) -> HttpResponse:
        return HttpResponse(BEHIND)

    @login_required
    async def coroutine(request: HttpRequest) -> HttpResponse:
        return HttpResponse(BEHIND)

    return [
        path("function", function),
        path("called", called),
        path("async", coroutine),
        path("class", login_required(Pages.as_view())),
        path("async-class", login_required(AsyncPages.as_view())),
        path("method", Methods.as_view()),
        path("async-method", AsyncMethods.as_view()),
        path("dispatch", method_decorator(login_required, name="dispatch")(Pages).as_view()),
        path(
            "async-dispatch", method_decorator(login_required, name="dispatch")(type("C", (AsyncPages,), {})).as_view()
        ),
        path("async-get", method_decorator(login_required, name="get")(AsyncPages).as_view()),
    ]


def _django_app() -> WSGIApp:
    """Django's handler, with URLs of its own for each request: its settings are the process's, and shared."""
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
        django.setup()
    urls: Any = ModuleType("login_required_urls")
    urls.urlpatterns = _django_views()

    class Request(django.core.handlers.wsgi.WSGIRequest):  # type: ignore[misc]
        urlconf = urls

    with override_settings(MIDDLEWARE=[]):
        handler: Any = get_wsgi_application()
    handler.request_class = Request
    return handler  # type: ignore[no-any-return]


VIEWS: dict[str, tuple[Callable[[], WSGIApp], list[str]]] = {
    "bottle": (_bottle_app, ["function", "called", "generator", "method", "class", "plugin"]),
    "flask": (_flask_app, ["function", "called", "async", "class", "async-class", "method"]),
    "pyramid": (
        _pyramid_app,
        ["function", "called", "default", "rendered", "method", "context-method", "class", "context-class"],
    ),
    "django": (
        _django_app,
        [
            *("function", "called", "async", "class", "async-class", "method", "async-method", "dispatch"),
            *("async-get", "async-dispatch"),
        ],
    ),
}
EACH = [(name, view) for name, (_, views) in VIEWS.items() for view in views]


def _visitor(name: str, **options: Any) -> Browser:
    return browser(make_app(VIEWS[name][0](), **options))


@pytest.mark.parametrize(("name", "view"), EACH)
def test_each_kind_of_view(name: str, view: str) -> None:
    """A page is led to the login and back; a script and a form get 401; the member reads what is behind."""
    person, address = _visitor(name), f"/{view}?page=2"
    led = person.get(address, status=303)
    assert led.location == f"{BASE_URL}/clef/login?next=/{view}%3Fpage%3D2"
    assert BEHIND not in led
    assert person.head(address, status=303).location == led.location
    refusals = [person.get(address, headers=SCRIPT, status=401)]
    if (name, view) != ("django", "async-get"):
        refusals.append(person.post(address, status=401))
    for refused in refusals:
        assert refused.json["error"] == "login_required"
        assert refused.json["login_url"].startswith(f"{BASE_URL}/clef/login?next=")
        assert refused.headers["WWW-Authenticate"] == "Clef"
        assert refused.content_type == "application/json"
    for answer in (led, *refusals):
        assert answer.headers.getall("Cache-Control") == ["no-store"]
        assert "Cookie" in answer.headers["Vary"]
    assert person.sign_in("ann", next=address.replace("%3F", "?")).location == BASE_URL + address
    assert BEHIND in person.get(address, status=200)
    assert BEHIND in person.post(address, status=200)
    person.sign_out()
    person.get(address, status=303)


@pytest.mark.parametrize("name", VIEWS)
def test_it_answers_as_protect_does(name: str) -> None:
    """One decision for both: status, address and body are those of ``protect``."""
    ours, guarded = _visitor(name), _visitor(name, protect=["/function"])
    for headers in ({}, SCRIPT, {"X-Requested-With": "XMLHttpRequest"}, {"Sec-Fetch-Dest": "image"}):
        one, other = (each.get("/function", headers=headers, status="*") for each in (ours, guarded))
        assert (one.status_int, one.location) == (other.status_int, other.location)
        assert one.status_int == 303 or one.json == other.json


@pytest.mark.parametrize("name", VIEWS)
def test_an_app_that_is_not_wrapped_is_refused(name: str) -> None:
    """Without the middleware nobody can say who is there: an error that says what to write, and never the page."""
    app = VIEWS[name][0]()
    if name == "flask":
        app.__self__.testing = True  # type: ignore[attr-defined]
    if name == "bottle":
        app.catchall = False  # type: ignore[attr-defined]
    if name == "django":  # which answers 500 to a browser
        with pytest.raises(RuntimeError, match="Serve what wrap"):
            clef_wsgi.django.login_required(lambda request: HttpResponse(BEHIND))(RequestFactory().get("/"))
        return
    with pytest.raises(RuntimeError, match="Serve what wrap"):
        Browser(app).get("/function")


def test_an_ignored_path_is_refused() -> None:
    """Under ``ignore`` nobody is ever signed in: an error that says so, in place of a loop through the login."""
    with pytest.raises(RuntimeError, match="under `ignore`"):
        answer_for({"clef.user": None, "clef.login": _ignored_login()})


def _ignored_login() -> Any:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ["clef.login"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    browser(make_app(app, ignore=["/static"])).get("/static/x")
    return seen[0]


def test_last_requests_environ_lets_nobody_in() -> None:
    """Bottle keeps the last request in its thread: a member's request before does not open the page for the next."""
    app = make_app(_bottle_app(), provider=FakeProvider())
    ann, stranger = browser(app), browser(app)
    ann.sign_in("ann")
    assert BEHIND in ann.get("/function")
    stranger.get("/function", status=303)


def test_pyramids_views_can_be_called_by_a_test() -> None:
    """A unit test calls the view with a request, as it did before."""
    request = DummyRequest(environ={"clef.user": {"id": "ann"}})
    assert clef_wsgi.pyramid.login_required(lambda request: BEHIND)(request) == BEHIND


@pytest.mark.parametrize("name", VIEWS)
def test_a_class_is_refused(name: str) -> None:
    """On a class the decorator would guard construction, not requests: refused, with the place to put it."""
    login_required = sys.modules[f"clef_wsgi.{name}"].login_required
    with pytest.raises(TypeError, match=r"(?s)Pages is a class.*It goes"):
        login_required(type("Pages", (), {}))


def test_the_decorator_keeps_name_and_docstring() -> None:
    """A decorated view keeps its name and docstring, and ``login_required`` keeps its own."""

    def account() -> str:
        """Show the account."""
        return BEHIND

    for name in VIEWS:
        login_required = sys.modules[f"clef_wsgi.{name}"].login_required
        assert (login_required.__name__, login_required.__module__) == ("login_required", f"clef_wsgi.{name}")
        guarded = login_required(account)
        assert (guarded.__name__, guarded.__doc__) == ("account", "Show the account.")
    assert decorator(lambda view: view)()(account) is account
