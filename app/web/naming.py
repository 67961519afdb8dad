"""The names of what one page is about: its customers, looked up together before it is drawn, and its rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask, current_app, g

from app import browse
from app.web.pages import now, services, tenant

AT_ONCE = {"google": 16}  # look-ups together, by backend; else one after the other


def install(flask: Flask) -> None:
    flask.extensions["names"] = browse.Names(AT_ONCE.get(flask.extensions["services"].settings.backend, 1))
    flask.jinja_env.globals.update(called=called, rule_called=rule_called)


def name(rows: Iterable[Mapping[str, Any]]) -> None:
    """Look up what the customers of these rows are called."""
    names: browse.Names = current_app.extensions["names"]
    asked = [str(row["customer"]) for row in rows if row.get("customer")]
    g.called = {**g.get("called", {}), **names.of(services().store, tenant(), asked, now())}


def called(customer: str | None) -> str:
    """The name of a customer that was looked up for this page, else empty."""
    found: str = g.get("called", {}).get(customer, "")
    return found


def rule_called(id: str) -> str:
    """The name of a rule, else its id; the names are read once for a page."""
    if "rules" not in g:
        g.rules = dict(browse.rule_names(services().store, tenant()))
    found: str = g.rules.get(id) or id
    return found
