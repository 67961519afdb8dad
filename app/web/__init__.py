"""create_app: the Flask application over the use cases; every page works without JavaScript, htmx makes it quick."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from flask import Flask

import app.web
from app.services import Services
from app.web import pages, show
from app.web.gate import access

ROOT = Path(__file__).parents[2]


def create_app(services: Services) -> Flask:
    """The web application. Every module of this package that has a `blueprint` is registered."""
    flask = Flask(
        "signalbox", root_path=str(ROOT), template_folder="templates", static_folder="static", static_url_path="/static"
    )
    flask.extensions["services"] = services
    flask.jinja_env.trim_blocks = flask.jinja_env.lstrip_blocks = True
    access.install(flask, services)
    pages.install(flask)
    show.install(flask)
    for found in pkgutil.walk_packages(app.web.__path__, "app.web."):
        module = importlib.import_module(found.name)
        if hasattr(module, "blueprint"):
            flask.register_blueprint(module.blueprint)
    return flask
