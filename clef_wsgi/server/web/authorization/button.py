"""Serve the script that draws the login button on a site's page (Clef wire protocol, section 1).

It is the same for everybody and sets no cookie, so any cache may keep it.
"""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request

from clef_wsgi.server.texts import LANGUAGES, text
from clef_wsgi.server.web.support.context import server

blueprint = Blueprint("script", __name__)
TYPES = ("login", "register", "connect")


@blueprint.get("/v1/clef.js")
@blueprint.get("/v2/clef.js")
@blueprint.get("/v3/clef.js")
@blueprint.get("/v3.1/clef.js")
@blueprint.get("/static/javascripts/clef.js")
def clef_js() -> Response:
    """Serve the script to pages of any origin."""
    options = server().options
    words = {lang: {kind: text(lang, f"button.{kind}", name=options.name) for kind in TYPES} for lang in LANGUAGES}
    response = make_response(render_template("clef.js", origin=options.origin, words=words))
    response.mimetype = "text/javascript"
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.add_etag()
    response.make_conditional(request)
    return response
