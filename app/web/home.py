"""The first page: is it healthy, what happened today, what needs me; and how to begin when nothing has happened."""

from __future__ import annotations

from flask import Blueprint, Response

from app.web.pages import page

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
def overview() -> Response:
    return page("home.html")
