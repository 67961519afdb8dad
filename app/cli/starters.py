"""The starter library on the command line: what there is, and a ready rule with the values that are yours."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from app.cli.commands import CommandError, command, say, show
from app.starters import Parameter, Starter, find, library
from rules.model import RuleError

if TYPE_CHECKING:
    from app.services import Services


def register(subparsers: Any) -> None:
    command(
        subparsers,
        "starters",
        "ready rules to begin from; with a name, the rule as a document",
        [
            "starters",
            "starters invoice-overdue --set amount=250000 --set wait=PT36H > rule.json",
            "starters dunning-ladder --set price=price_basic | python main.py rules import -",
        ],
        starters,
        starter={"flag": False, "metavar": "NAME", "nargs": "?", "help": "one of them"},
        set={
            "metavar": "NAME=VALUE",
            "action": "append",
            "default": [],
            "help": "a parameter: amounts in minor units, spans such as P3D, lists with commas",
        },
    )


def starters(given: argparse.Namespace, services: Services) -> None:
    if not given.starter:
        rows = library()
        show(given, [_row(one) for one in rows], lambda: _listed(rows))
        return
    one = find(given.starter)
    values = dict(_value(one, text) for text in given.set)
    if wrong := one.checked(values):
        raise RuleError(wrong)
    say(json.dumps(one.filled(values), indent=2, ensure_ascii=False))


def _row(one: Starter) -> dict[str, Any]:
    parameters = {parameter.name: parameter.default for parameter in one.parameters}
    return {"id": one.id, "group": one.group, "name": one.document["name"], "parameters": parameters}


def _listed(rows: Sequence[Starter]) -> Iterator[str]:
    for one in rows:
        yield f"{one.id}: {one.document['name']}"
        for parameter in one.parameters:
            yield f"  {parameter.name}={_said(parameter)}  {parameter.label}"


def _said(parameter: Parameter) -> str:
    text = json.dumps(parameter.default, ensure_ascii=False)
    return "(asked)" if parameter.default == "" else text if len(text) <= 40 else text[:37] + "..."


def _value(one: Starter, text: str) -> tuple[str, Any]:
    """A name and its value, of the kind that the parameter has."""
    name, sign, value = text.partition("=")
    if not sign:
        raise CommandError(f"{text!r} is no parameter: write NAME=VALUE, such as wait=P3D")
    kind = next((parameter.type for parameter in one.parameters if parameter.name == name), "text")
    if kind == "list":
        return name, [word.strip() for word in value.split(",") if word.strip()]
    try:
        return name, json.loads(value) if kind in ("money", "number") else value
    except ValueError:
        return name, value
