"""create_app: the Flask application over the use cases; every page works without JavaScript, htmx makes it quick."""

from __future__ import annotations

import importlib
import pkgutil

from flask import Flask

import app.web
from app.services import Services


def create_app(services: Services) -> Flask:
    """The web application. Every module of this package that has a `blueprint` is registered."""
    flask = Flask("signalbox", root_path=".", template_folder="templates", static_folder="static")
    flask.extensions["services"] = services
    for found in sorted(pkgutil.iter_modules(app.web.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"app.web.{found.name}")
        if hasattr(module, "blueprint"):
            flask.register_blueprint(module.blueprint)
    return flask
