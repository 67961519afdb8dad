"""create_app: the Flask application over the use cases; every page works without JavaScript, htmx makes it quick."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from flask.templating import Environment

import app.web
from app.services import Services
from app.web import naming, pages, show
from app.web.gate import access, deadlines

ROOT = Path(__file__).parents[2]


class Templates(Environment):
    """Jinja, in which what a dictionary does not hold under a name is missing, though it has a method of that name: a
    rule may be called `items`."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict) and argument not in obj:
            return self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)


def create_app(
    services: Services,
    monotonic: Callable[[], float] = time.monotonic,
    underway: deadlines.Underway | None = None,
) -> Flask:
    """The web application. Every module of this package that has a `blueprint` is registered. monotonic: a stopwatch,
    by which requests have their time; underway: how many may be at once."""
    flask = Flask(
        "signalbox", root_path=str(ROOT), template_folder="templates", static_folder="static", static_url_path="/static"
    )
    flask.jinja_environment = Templates
    services = deadlines.patient_services(services)
    flask.extensions["services"] = services
    flask.jinja_env.trim_blocks = flask.jinja_env.lstrip_blocks = True
    access.install(flask, services)
    deadlines.install(flask, services, monotonic, underway or deadlines.Underway())
    pages.install(flask)
    show.install(flask)
    naming.install(flask)
    for found in pkgutil.walk_packages(app.web.__path__, "app.web."):
        module = importlib.import_module(found.name)
        if hasattr(module, "blueprint"):
            flask.register_blueprint(module.blueprint)
    return flask
