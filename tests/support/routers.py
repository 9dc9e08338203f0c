"""One site for each router of the frameworks, with pages for members, for everybody, and an inner app at ``/site``.

A page for members carries the header ``X-Members`` and the text :data:`SECRET_TEXT`. What no route knows is answered
with what the app saw of the request. Nothing here asks for a login: that is the business of what wraps it.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Environ = dict[str, Any]
WSGIApp = Callable[..., Iterable[bytes]]

MEMBERS = "X-Members"
SECRET_TEXT = b"for members alone"
PROTECTED = ("/admin", "/über", "/site/admin", "/site/über", "/files/secret")
"""The protected paths of each router: ``/site`` is a mounted, hybrid or included router of the same kind."""
TEXT = "text/plain"
FILES = "static"
"""The name of the folder whose files are at ``/files``; its folder ``secret`` is for members."""


def make_files(folder: Path) -> Path:
    """The files of ``/files``."""
    files = folder / FILES
    (files / "secret").mkdir(parents=True)
    (files / "secret" / "plan.txt").write_bytes(SECRET_TEXT)
    (files / "logo.txt").write_bytes(b"a logo")
    return files


def seen(environ: Environ) -> bytes:
    """Return the request's environ as the app saw it, server and client values, in ASCII."""
    names = {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI"}
    kept = {name: value for name, value in environ.items() if name in names or name.startswith("HTTP_")}
    kept.pop("HTTP_X_SITE", None)
    return ascii(sorted(kept.items())).encode()


def _marked(file_name: str) -> dict[str, str]:
    """Return the header that marks a file for members, since the answer to HEAD has no text to recognize it by."""
    return {MEMBERS: "yes"} if "plan.txt" in file_name else {}


def flask_app(files: Path) -> WSGIApp:
    """Werkzeug's rules, and a blueprint."""
    import flask

    app = _flask_site("site", files)
    app.register_blueprint(_add_flask_pages(flask.Blueprint("inner", "inner", url_prefix="/site")))
    return app.wsgi_app  # type: ignore[no-any-return]


def mounted(files: Path) -> WSGIApp:
    """Werkzeug's ``DispatcherMiddleware``, with Flask outside and Pyramid's traversal mounted at ``/site``."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    return DispatcherMiddleware(_flask_site("site", files), {"/site": _telling(_pyramid_tree().make_wsgi_app())})


def _flask_site(name: str, files: Path) -> Any:
    import flask

    def file(name: str) -> Any:
        answer = flask.send_from_directory(files, name)
        answer.headers.update(_marked(name))
        return answer

    app = flask.Flask(name, static_folder=None)
    _add_flask_pages(app).add_url_rule("/files/<path:name>", "files", file)
    app.register_error_handler(404, lambda error: (seen(flask.request.environ), 404, {"Content-Type": TEXT}))
    return app


def _add_flask_pages(site: Any) -> Any:
    def members(**_parts: str) -> Any:
        return SECRET_TEXT, 200, {MEMBERS: "yes", "Content-Type": TEXT}

    def public(**_parts: str) -> Any:
        return b"public", 200, {"Content-Type": TEXT}

    for number, rule in enumerate(("/admin", "/admin/<path:rest>", "/<any(über):page>")):
        site.add_url_rule(rule, f"members{number}", members, methods=["GET", "POST", "PUT"])
    for number, rule in enumerate(("/", "/public", "/public/<path:rest>", "/static/<path:rest>")):
        site.add_url_rule(rule, f"public{number}", public)
    return site


def bottle_app(files: Path) -> WSGIApp:
    """Bottle's rules, and a second Bottle mounted as a WSGI app."""
    import bottle

    def site() -> bottle.Bottle:
        app = bottle.Bottle()
        for rule in ("/admin<:re:/?>", "/admin/<rest:path>", "/über"):
            app.route(rule, method="ANY", callback=members)
        for rule in ("/", "/public", "/public/<rest:path>", "/static/<rest:path>"):
            app.route(rule, callback=public)
        app.error(404)(lambda error: answer(seen(bottle.request.environ)))
        return app

    def members(**_parts: str) -> bytes:
        bottle.response.set_header(MEMBERS, "yes")
        return answer(SECRET_TEXT)

    def public(**_parts: str) -> bytes:
        return answer(b"public")

    def answer(body: bytes) -> bytes:
        bottle.response.content_type = TEXT
        return body

    def file(name: str) -> Any:
        found = bottle.static_file(name, files)
        for header, value in _marked(name if found.status_code == 200 else "").items():
            found.set_header(header, value)
        return found

    inner, app = site(), site()
    app.route("/files/<name:path>", callback=file)
    app.mount("/site/", inner.wsgi)
    return app  # type: ignore[no-any-return]


def pyramid_routes(files: Path) -> WSGIApp:
    """Pyramid's URL dispatch, and a second app behind ``wsgiapp2``."""
    from pyramid.config import Configurator
    from pyramid.wsgi import wsgiapp2

    def site() -> Configurator:
        config = Configurator()
        for number, pattern in enumerate(("/admin", "/admin/*rest", "/über")):
            config.add_route(f"members{number}", pattern)
            config.add_view(_pyramid_members, route_name=f"members{number}")
        for number, pattern in enumerate(("/", "/public", "/public/*rest", "/static/*rest")):
            config.add_route(f"public{number}", pattern)
            config.add_view(_pyramid_public, route_name=f"public{number}")
        config.add_notfound_view(_pyramid_seen)
        return config

    config = site()
    config.add_static_view("files", str(files))
    config.add_route("site", "/site/*subpath")
    config.add_view(wsgiapp2(site().make_wsgi_app()), route_name="site")
    return _telling(config.make_wsgi_app())


def pyramid_traversal(files: Path) -> WSGIApp:
    """Pyramid's traversal, and a hybrid route: a tree of its own below ``/site``."""
    config = _pyramid_tree()
    config.add_static_view("files", str(files))
    config.add_route("site", "/site/*traverse", factory=_tree)
    config.add_view(_pyramid_members, context=Members, route_name="site")
    config.add_view(_pyramid_members, context=Root, name="über", route_name="site")
    config.add_view(_pyramid_public, context=Folder, route_name="site")
    return _telling(config.make_wsgi_app())


class Folder(dict[str, Any]):
    """A resource of Pyramid's traversal."""


class Root(Folder):
    """The root of a resource tree."""


class Members(Folder):
    """A resource for members."""


def _tree(request: Any) -> Folder:
    return Root(admin=Members(users=Members()), public=Folder(), static=Folder(x=Folder()))


def _pyramid_tree() -> Any:
    from pyramid.config import Configurator

    config = Configurator(root_factory=_tree)
    config.add_view(_pyramid_members, context=Members)
    config.add_view(_pyramid_members, context=Root, name="über")
    config.add_view(_pyramid_public, context=Folder)
    config.add_notfound_view(_pyramid_seen)
    return config


def _pyramid_members(context: Any, request: Any) -> Any:
    from pyramid.response import Response

    return Response(SECRET_TEXT, headerlist=[("Content-Type", TEXT), (MEMBERS, "yes")])


def _pyramid_public(context: Any, request: Any) -> Any:
    from pyramid.response import Response

    return Response(b"public", content_type=TEXT)


def _pyramid_seen(request: Any) -> Any:
    from pyramid.response import Response

    return Response(seen(request.environ), status=404, content_type=TEXT)


def _telling(app: WSGIApp) -> WSGIApp:
    """Answer 400 to a path that Pyramid can't decode, as its servers' error pages would: without the page."""

    def telling(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except UnicodeError:
            start_response("400 Bad Request", [("Content-Type", TEXT)])
            return [seen(environ)]

    return telling


def django_app(files: Path) -> WSGIApp:
    """Django's patterns, and an included list of them. Its settings are a process's own: see :func:`django_urls`."""
    import django.conf
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.urls import include, path, re_path
    from django.views.static import serve

    def members(request: HttpRequest, **_parts: str) -> Any:
        return HttpResponse(SECRET_TEXT, content_type=TEXT, headers={MEMBERS: "yes"})

    def public(request: HttpRequest, **_parts: str) -> Any:
        return HttpResponse(b"public", content_type=TEXT)

    def file(request: HttpRequest, path: str) -> Any:
        answer = serve(request, path, document_root=str(files))
        for header, value in _marked(path).items():
            answer[header] = value
        return answer

    def not_found(request: HttpRequest, exception: Exception) -> Any:
        return HttpResponse(seen(request.META), status=404, content_type=TEXT)

    site: list[Any] = [
        *(re_path(r"^admin$", members), path("admin/<path:rest>", members), path("über", members)),
        *(path("", public), path("public", public), path("public/<path:rest>", public)),
        path("static/<path:rest>", public),
    ]
    urls: Any = types.ModuleType(DJANGO_URLS)
    urls.urlpatterns = [*site, path("site/", include(site)), re_path(r"^files/(?P<path>.*)$", file)]
    urls.handler404 = not_found
    sys.modules[DJANGO_URLS] = urls
    if not django.conf.settings.configured:
        django.conf.settings.configure(ROOT_URLCONF=DJANGO_URLS, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
        django.setup()
    return WSGIHandler()  # type: ignore[no-any-return]


DJANGO_URLS = "support_routers_urls"


@contextmanager
def django_urls() -> Iterator[None]:
    """Django with the pages of :func:`django_app`, where another test may have settled for other ones."""
    from django.test import override_settings

    with override_settings(ROOT_URLCONF=DJANGO_URLS):
        yield


ROUTERS: dict[str, Callable[[Path], WSGIApp]] = {
    "flask": flask_app,
    "mounted": mounted,
    "bottle": bottle_app,
    "pyramid-routes": pyramid_routes,
    "pyramid-traversal": pyramid_traversal,
    "django": django_app,
}


def make_router(name: str, files: Path) -> WSGIApp:
    """The site of this router. Pyramid's use of pkg_resources is not this project's to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ROUTERS[name](files)
