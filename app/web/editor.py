"""The rule editor: the sentence form and the same document as JSON. Every press posts the whole form, so it works
without JavaScript; with htmx the read-back follows the typing and added rows appear in place. Nothing is kept until
Save, Watch or Go live."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request

from app import author, declared, scores, tenant_settings
from app.author import examples
from app.inquire import preview, step_previews
from app.services import lab_of
from app.starters import starter
from app.web import proposed
from app.web.backtests import begin_with
from app.web.forms import document as forms
from app.web.forms import presses, read, unfinished, words
from app.web.forms.document import Form
from app.web.forms.extras import DAYS
from app.web.forms.spots import beside, slot, spots
from app.web.forms.words import Said
from app.web.pages import actor, go, now, page, services, tenant
from app.web.picker import Picker, Seen, example, newest
from app.web.rules import sentences
from rules.channels import known_channels
from rules.example import ENDS
from rules.examples import ExampleResult
from rules.ports import ABSENT, Conflict
from rules.rule import Problem, RuleError
from rules.steps import NotPossible

blueprint = Blueprint("editor", __name__)
NEW = "new"
LARGEST_FILE = 256 * 1024
SHOWN = 200  # fields that one page lists
COUNTS = {"google": 16}  # questions for event counts at once, by backend; else one after the other
CURRENCIES = ("usd", "eur", "gbp", "jpy", "chf", "cad", "aud", "sek", "nok", "dkk", "pln", "inr", "brl", "mxn", "sgd")


@dataclass(frozen=True, slots=True)
class Desk:
    """What is being edited. text: the JSON as typed, when it is edited as JSON and not well-formed."""

    id: str
    expect: str
    form: Form
    document: dict[str, Any]
    picker: Picker
    as_json: bool = False
    text: str = ""
    broken: str = ""


# ---- opening --------------------------------------------------------------------------------------------------------
def opened(document: Mapping[str, Any]) -> Response:
    """The editor with a new rule in it."""
    return _show(_desk(NEW, ABSENT, document))


@blueprint.post("/rules/new/import")
def take_file() -> Response:
    """A rule from a file that `Export` or the command line wrote."""
    given = request.files.get("file")
    text = given.read(LARGEST_FILE + 1).decode("utf-8", "replace") if given else ""
    return _show(_desk_of_text(NEW, ABSENT, text))


@blueprint.get("/rules/<id>/edit")
def edit(id: str) -> Response:
    as_json = request.args.get("as") == "json"
    if id == NEW:
        document = _with_connection(starter(request.args.get("from", "blank")))
        return _show(_desk(NEW, ABSENT, document, as_json))
    row = author.rule(services().store, tenant(), id)
    return _show(_desk(id, row["version"], row["document"] or {"id": id, "name": row["name"]}, as_json))


def _with_connection(document: dict[str, Any]) -> dict[str, Any]:
    """Each step over the one connection there is of its type."""
    for step in _every(document["steps"]):
        step.get("with", {}).update(_only_connections(step.get("do", "")))
    return document


def _every(steps: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        yield step
        yield from _every([*step.get("then", ()), *step.get("else", ())])


def _only_connections(action: str) -> dict[str, str]:
    """The connection to take for each of the action's fields that asks for one, where only one is of its type."""
    known, found = author.connections(services().store, tenant()), {}
    for field in services().connectors[action].fields if action in services().connectors else ():
        fitting = [one["name"] for one in known if one["type"] in field.choices]
        if field.type == "connection" and len(fitting) == 1:
            found[field.name] = fitting[0]
    return found


# ---- pressing -------------------------------------------------------------------------------------------------------
@blueprint.post("/rules/<id>/draft")
def draft(id: str) -> Response:
    """While people type: the read-back, and what is wrong beside its field. Nothing is kept."""
    return _show(_posted(id), block="draft")


@blueprint.post("/rules/<id>/preview")
def look(id: str) -> Response:
    """What it would have done lately, as it stands in the editor. Nothing is kept."""
    return _show(_posted(id), block="lately", looked=True)


@blueprint.post("/rules/<id>/edit")
def press(id: str) -> Response:
    desk = _posted(id)
    button, _, rest = request.form.get("do", "").partition("|")
    if desk.broken:
        return _show(desk, status=422)
    if button in ("save", "watch", "publish"):
        return _keep(desk, button)
    if button == "propose":
        return _proposed(desk)
    if button in ("preview", "history", "limits"):
        return _tried(desk, button, rest)
    if button in ("json", "form"):
        return _show(_desk(id, desk.expect, desk.document, button == "json"))
    if button in ("use", "rename"):
        path, _, suggestion = rest.partition("|")
        change = presses.use if button == "use" else presses.rename
        return _show(_desk(id, desk.expect, change(desk.document, path, suggestion), desk.as_json))
    if desk.as_json:
        return _show(desk)
    if button == "add:step":
        button = f"add:step-{request.form.get('new_step', '')}"
    if button.endswith((".then", ".else")):  # which action is chosen beside the button
        button += f"={request.form.get(button.removeprefix('into:') + '.new', '')}"
    return _show(_with_form(desk, _connected(presses.press(desk.form, button))), pressed=button)


def _proposed(desk: Desk) -> Response:
    """Fill the limits in from the last days."""
    found = proposed.proposal(desk.document)
    if found is None:
        return _show(desk, said="Limits can be proposed once the rule is complete.")
    return _show(_desk(desk.id, desk.expect, {**desk.document, "limits": found["limits"]}, desk.as_json), looked=True)


def _tried(desk: Desk, button: str, rest: str) -> Response:
    """Look at the last days, try it on history, or take the limits that the look proposes."""
    if button == "limits":
        desk = _desk(desk.id, desk.expect, {**desk.document, "limits": _parsed(rest)[0]}, desk.as_json)
    if button != "history":
        return _show(desk, looked=True)
    try:
        return begin_with(desk.document)
    except RuleError:
        return _show(desk, status=422, said="It cannot be tried yet. What is missing stands beside its field.")
    except NotPossible as error:
        return _show(desk, status=409, said=str(error))


def _connected(form: Form) -> Form:
    """A new step goes over the one connection there is of its type."""
    for step in presses.every_step(form["steps"]):
        if step["was"] is None and step.get("do"):
            said = {key: text for key, text in step["with"].items() if text}
            step["with"] = {**_only_connections(step["do"]), **said}
    return form


def _keep(desk: Desk, button: str) -> Response:
    """Save the draft; for the other two go on to what is asked before a rule goes in force."""
    ports = services()
    wrong = [one for one in _problems(desk) if one.severity == "error"]
    if wrong and button != "save":
        return _show(desk, status=422, said="It cannot go live yet. What is missing stands beside its field.")
    try:
        kept = author.save_draft(
            ports.store,
            ports.vault,
            ports.catalogue,
            ports.connectors,
            tenant(),
            desk.document,
            actor(),
            now(),
            desk.expect,
        )
    except Conflict as error:
        return _show(desk, status=409, said=str(error))
    except RuleError as error:
        return _show(desk, status=422, said=" ".join(one.message for one in error.problems))
    if button != "save":
        return go(f"/rules/{kept['id']}/{button}")
    where = f"/rules/{kept['id']}/edit" + ("?as=json" if desk.as_json else "")
    return go(where, _saved(kept))


def _saved(kept: Mapping[str, Any]) -> str:
    if kept["draft"] is None:
        return "Saved. It is the same as the version in force."
    count = kept["problems"]
    left = f" {count} problem{'s' if count != 1 else ''} to mend before it can go live." if count else ""
    return f"Draft saved. Nothing in force has changed.{left}"


# ---- desks ----------------------------------------------------------------------------------------------------------
def _desk(id: str, expect: str, document: Mapping[str, Any], as_json: bool = False) -> Desk:
    picker = _picker(_types(document))
    form = forms.form_of(document, picker.kind, picker.currency)
    return Desk(id, expect, form, dict(document), picker, as_json)


def _posted(id: str) -> Desk:
    """What the browser sent, as form or as JSON."""
    expect = request.form.get("expect", "")
    text = request.form.get("text")
    if text is not None:
        return _desk_of_text(id, expect, text)
    form = read.read(request.form.to_dict(flat=False))
    picker = _picker(form["when"]["event"])
    return _with_form(Desk(id, expect, form, {}, picker), form)


def _with_form(desk: Desk, form: Form) -> Desk:
    """The desk after the form changed: its document, and rows that know which kind of value they hold."""
    picker = desk.picker if desk.form is form else _picker(form["when"]["event"])
    document = _named(desk.id, forms.document_of(form, picker.kind, services().connectors), form["base"])
    return Desk(desk.id, desk.expect, forms.refreshed(form, picker.kind), document, picker)


def _desk_of_text(id: str, expect: str, text: str) -> Desk:
    document, broken = _parsed(text)
    if broken:
        return Desk(id, expect, {}, {}, _picker(()), True, text, broken)
    return _desk(id, expect, _named(id, document, document), True)


def _parsed(text: str) -> tuple[dict[str, Any], str]:
    try:
        found = json.loads(text, parse_constant=_refuse)
        orjson.dumps(orjson.loads(text))  # half a surrogate pair, 1e999 or 255 levels: what the store could not keep
    except json.JSONDecodeError as error:
        return {}, f"Line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}."
    except (ValueError, TypeError, RecursionError):
        return {}, "That is no JSON document."
    return (found, "") if isinstance(found, dict) else ({}, "A rule is one JSON object, in braces.")


def _refuse(word: str) -> None:
    raise ValueError(word)


def _named(id: str, document: dict[str, Any], begun: Mapping[str, Any]) -> dict[str, Any]:
    """A known rule keeps its id. A new one has its starter's or its file's until it is given another name."""
    own = id
    if id == NEW:
        kept = document.get("id") if document.get("name") == begun.get("name") else None
        own = str(kept or author.slug(str(document.get("name") or "")))
    return {"id": own, **{key: value for key, value in document.items() if key != "id"}}


def _types(document: Mapping[str, Any]) -> list[str]:
    when = document.get("when")
    types = when.get("event") if isinstance(when, Mapping) else None
    return [type for type in types if isinstance(type, str)] if isinstance(types, list) else []


def _picker(types: Any) -> Picker:
    ports = services()
    chosen = [type for type in types if type]
    counter: Seen = current_app.extensions.setdefault("seen", Seen(COUNTS.get(ports.settings.backend, 1)))
    seen = counter.counts(ports.store, ports.catalogue, tenant(), now())
    real = newest(ports.store, tenant(), chosen)
    declared_paths = [(one.body["path"], one.id) for one in declared.documents(ports.store, tenant())]
    names = scores.names(ports.store, tenant())
    return Picker(ports.catalogue, chosen, real or example(chosen), bool(real), seen, declared_paths, names)


def _problems(desk: Desk) -> list[Problem]:
    ports = services()
    return author.problems(ports.store, ports.catalogue, ports.connectors, tenant(), desk.document)


# ---- showing --------------------------------------------------------------------------------------------------------
def _show(
    desk: Desk, block: str = "editor", status: int = 200, said: str = "", pressed: str = "", looked: bool = False
) -> Response:
    found = _said(desk)
    strict = desk.id != NEW or bool(said) or request.form.get("do") == "check"
    places = {} if desk.as_json else spots(desk.form, desk.document)
    return page(
        "rule_edit.html",
        block,
        status,
        desk=desk,
        form=desk.form,
        picker=desk.picker,
        problems=found,
        errors=beside([one for one in found if strict or not one.gap], places),
        place_of=lambda problem: _place(problem, places),
        places=sorted(set(places.values())),
        slot=slot,
        said=said,
        pressed=pressed,
        lines=_lines(desk),
        texts=step_previews.texts(desk.document, services().connectors, desk.picker.sample),
        examples=_examples(desk),
        step_names=_step_names(desk.document.get("steps")),
        stands=[*_step_names(desk.document.get("steps")), *ENDS],
        channels=known_channels(services().connectors),
        week=DAYS,
        account=tenant_settings.read(services().store, tenant()),
        actions=services().connectors,
        connections=[] if desk.as_json else author.connections(services().store, tenant()),
        lists=[] if desk.as_json else author.lists(services().store, tenant()),
        currencies=CURRENCIES,
        lately=_lately(desk) if looked else None,
        looked=looked,
        dump=lambda value: json.dumps(value, ensure_ascii=False),
        text=desk.text or json.dumps(desk.document, indent=2, ensure_ascii=False),
    )


def _lately(desk: Desk) -> dict[str, Any] | None:
    """What the rule would have done in the last days; None while it is not whole."""
    return None if desk.broken else preview.preview(lab_of(services()), tenant(), desk.document, now())


def _said(desk: Desk) -> list[Said]:
    """What is wrong, in the words of what it is edited as."""
    if desk.broken:
        return []
    found = _problems(desk)
    return words.as_written(found) if desk.as_json else list(words.said(found, desk.document, services().connectors))


def _lines(desk: Desk) -> list[dict[str, Any]]:
    """The rule in plain English, with dots for what is missing or wrong."""
    if desk.broken:
        return []
    found = sentences(desk.document) or unfinished.sentences(desk.document, services().catalogue)
    return [dict(one) for one in found if one["part"] not in ("name", "examples")]


def _examples(desk: Desk) -> list[ExampleResult]:
    """What comes of each of the rule's examples as it stands here."""
    if desk.broken or not desk.document.get("examples"):
        return []
    return examples.results(services().store, services().catalogue, tenant(), desk.document)


def _step_names(steps: Any) -> list[str]:
    """The names of the steps, those inside an `if` too."""
    found: list[str] = []
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, Mapping) and isinstance(step.get("name"), str):
            found += [step["name"], *_step_names(step.get("then")), *_step_names(step.get("else"))]
    return found


def _place(problem: Said, places: Mapping[str, str]) -> str:
    return next(iter(beside([problem], places)))


@blueprint.get("/fields")
def fields() -> Response:
    """Every field of an event type, searchable, with the value it had in the newest event; as options for a picker."""
    type = services().catalogue.event_type(request.args.get("event", ""))
    if type is None:
        raise LookupError(f"Stripe has no event type {request.args.get('event', '')!r}.")
    picker = _picker([type.name])
    typed = next((value for key, value in request.args.items() if key == "q" or key.endswith((".field", ".value"))), "")
    query = read.picked(typed)[:100].strip()
    everything = picker.fields(everything=True)
    listed = services().catalogue.search(type.name, query, SHOWN) if query else everything[:SHOWN]
    block = "options" if request.args.get("as") == "options" else "found"
    known = picker.known(query)
    total = len(everything)
    return page(
        "rule_fields.html", block, type=type, query=query, listed=listed, picker=picker, total=total, known=known
    )
