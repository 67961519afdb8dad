"""Starting from the library: the gallery, and the few things that a starter asks before it becomes a rule in the
editor. Nothing is kept here; every field has a default, or is left for the editor to ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request

from app import author
from app.inquire import first_look
from app.inquire.backtests import Lab
from app.inquire.touched import DAYS, Touched, touched
from app.starters import Parameter, Starter, find, library
from app.web import editor
from app.web.forms import unfinished
from app.web.forms.values import money_meant, money_shown, number_meant, number_shown, span_meant, span_shown
from app.web.pages import go, now, page, services, tenant
from app.web.picker import newest
from rules.model import duration
from rules.words import span_text

blueprint = Blueprint("starting", __name__)
CURRENCY = ("invoice.paid", "invoice.finalized", "charge.succeeded")  # whose newest event says what money is typed in
STAND_INS = {"price": "price_none", "text": "https://example.com", "long": "text"}


@blueprint.get("/rules/new")
def gallery() -> Response:
    groups: dict[str, list[tuple[Starter, list[str], list[str]]]] = {}
    for one in library():
        document = one.filled()
        said = unfinished.sentences(document, services().catalogue)
        begins = [line["text"] for line in said if line["part"] in ("when", "only_if")]
        groups.setdefault(one.group, []).append((one, begins, _doing(document["steps"])))
    return page("rule_new.html", groups=groups, look=first_look.found(services().store, tenant()))


def _doing(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the steps do, each in a few words; what branches do alike is said once."""
    said = list(_each(steps))
    return [text for text, before in zip(said, ["", *said], strict=False) if text != before]


def _each(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        if "if" in step:
            yield from _each([*step["then"], *step.get("else", ())])
        elif "wait" in step:
            yield _waiting(step["wait"])
        elif action := services().connectors.get(step.get("do", "")):
            yield action.title


def _waiting(wait: Mapping[str, Any]) -> str:
    return f"wait {span_text(int(duration(wait['for']).total_seconds()))}" if "for" in wait else "wait"


@blueprint.post("/rules/new/try")
def try_all() -> Response:
    """All of them on the last thirty days; the result stands beside each in the gallery."""
    id = first_look.start(services().store, tenant(), now())
    return go(f"/backtests/{id}")


@blueprint.get("/rules/new/start")
def ask() -> Response:
    one = find(request.args.get("from", ""))
    return _asked(one, _beginning(one))


@blueprint.post("/rules/new/start")
def begin() -> Response:
    """Into the editor, or how many it would have touched."""
    one = find(request.form.get("from", ""))
    values = {parameter.name: _meant(parameter) for parameter in one.parameters}
    if request.form.get("do") == "count":
        return _asked(one, values)
    return editor.opened(one.filled(values))


def _asked(one: Starter, values: Mapping[str, Any]) -> Response:
    return page(
        "rule_start.html",
        "asked",
        one=one,
        fields=[(parameter, _shown(parameter, values[parameter.name])) for parameter in one.parameters],
        lines=unfinished.sentences(one.filled(values), services().catalogue),
        touched=_touched(one, values),
        days=DAYS,
        currency=_currency(),
        connections=author.connections(services().store, tenant()),
    )


def _beginning(one: Starter) -> dict[str, Any]:
    """The defaults, over the one connection there is of each type."""
    known = author.connections(services().store, tenant())
    values = {parameter.name: parameter.default for parameter in one.parameters}
    for parameter in one.parameters:
        names = [connection["name"] for connection in known if connection["type"] == parameter.of]
        if parameter.type == "connection" and len(names) == 1:
            values[parameter.name] = names[0]
    return values


def _touched(one: Starter, values: Mapping[str, Any]) -> Touched | None:
    """What is still to be filled in changes nothing about whom it would have touched."""
    known = {
        parameter.name: values[parameter.name] or STAND_INS.get(parameter.type, "") for parameter in one.parameters
    }
    ports = services()
    lab = Lab(ports.store, ports.vault, ports.catalogue, ports.connectors)
    return touched(lab, tenant(), one.filled(known), now())


def _currency() -> str:
    """In which amounts are typed."""
    found = newest(services().store, tenant(), CURRENCY).get("data", {}).get("object", {}).get("currency")
    return found if isinstance(found, str) and len(found) == 3 else "usd"


# ---- values ---------------------------------------------------------------------------------------------------------
def _meant(parameter: Parameter) -> Any:
    """What was typed; what is no value of its kind goes on as text, and the editor says so beside its field."""
    text = request.form.get(parameter.name, "").replace("\r\n", "\n").strip()
    meant = MEANT.get(parameter.type)
    return meant(parameter.name, text) if meant else text


def _span(name: str, text: str) -> str:
    return span_meant(text, request.form.get(f"{name}.unit", "days"))


MEANT: Mapping[str, Callable[[str, str], Any]] = {
    "money": lambda name, text: money_meant(text, _currency()) if text else "",
    "number": lambda name, text: number_meant(text) if text else "",
    "list": lambda name, text: [word.strip() for word in text.split(",") if word.strip()],
    "span": _span,
}


def _shown(parameter: Parameter, value: Any) -> tuple[str, str]:
    """(the text of the field, the unit of a span)."""
    if parameter.type == "span":
        return span_shown(value)
    if parameter.type == "money" and isinstance(value, int):
        return money_shown(value, _currency()), ""
    return (", ".join(value) if isinstance(value, list) else number_shown(value)), ""
