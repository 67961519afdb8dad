"""The JSON Schema of a rule document: its shape, for editors and other programs; `rules.rule.check` knows more."""

from __future__ import annotations

from typing import Any, Final

from rules import operators as ops
from rules.example import ANSWERS, ENDS, FIRES, GATES
from rules.rule import LARGEST
from rules.skeletons import STAND_INS
from rules.subjects import PREFIX

Schema = dict[str, Any]
_EVENTS: Final[Schema] = {
    "type": "array",
    "items": {"type": "string", "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)+$"},
    "minItems": 1,
    "uniqueItems": True,
    "description": "Stripe event types.",
}
_SPAN: Final[Schema] = {
    "type": "string",
    "pattern": r"^P(?!$)(\d+W)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?$",
    "description": "An ISO 8601 span: P7D is 7 days, PT48H is 48 hours.",
}
_PATH: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "description": "A path, such as data.object.amount_due, a fact (fact.customer.mrr), or a score (score.churn_risk).",
}
_SAME: Final[Schema] = {
    "anyOf": [{"enum": list(PREFIX)}, _PATH],
    "description": "For the same what: " + ", ".join(PREFIX) + ", or a path that settings declare.",
}
_TEXTS: Final[Schema] = {"type": "array", "items": {"type": "string", "minLength": 1}}
_SCALAR: Final[Schema] = {"type": ["string", "number", "boolean"]}
_TIME: Final[Schema] = {"type": ["string", "number"]}
_STEP_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,59}$"}


def rule_schema() -> Schema:
    """JSON Schema (2020-12) of the document. Its shape only: `check` knows fields, words and actions."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://signalbox.dev/schemas/rule.json",
        "title": "Signalbox rule",
        "description": f"One rule. At most {LARGEST // 1024} KB.",
        **_object(
            {
                "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,79}$"},
                "name": {"type": "string", "minLength": 1, "maxLength": 120},
                "why": {"type": "string", "maxLength": 2000, "description": "Why the rule exists."},
                "tags": _TEXTS,
                "priority": {"type": "integer", "minimum": -1000, "maximum": 1000},
                "when": {"$ref": "#/$defs/when"},
                "only_if": _ref("condition", "Holds for every event that counts."),
                "never_for": _object({"lists": _TEXTS}),
                "again": _again(),
                "steps": _steps(),
                "stop_when": {"type": "array", "items": {"$ref": "#/$defs/stop"}},
                "undo": _object({"on": _EVENTS, "same": _SAME, "within": _SPAN}, ("on", "same", "within")),
                "limits": _limits(),
                "money": _PATH,
                "caps": _caps(),
                "hours": _hours(),
                "holdout": {"type": "number", "minimum": 0, "maximum": 1},
                "examples": _examples(),
            },
            ("id", "name", "when", "steps"),
        ),
        "$defs": {
            "when": _when(),
            "condition": _condition(),
            "test": _test(),
            "stop": _object({"event": _EVENTS, "same": _SAME}, ("event", "same")),
            "step": {"oneOf": [_do(), _wait(), _if(), _approve(), _stop()]},
        },
    }


def _object(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _ref(name: str, description: str) -> Schema:
    return {"$ref": f"#/$defs/{name}", "description": description}


def _steps() -> Schema:
    return {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1, "maxItems": 50}


def _again() -> Schema:
    after = {**_SPAN, "type": ["string", "null"], "description": "Since the last run's trigger; null = never again."}
    return _object({"while_open": {"type": "boolean"}, "after": after})


def _limits() -> Schema:
    money = {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{3}$"},
        "additionalProperties": {"type": "integer", "minimum": 0},
        "description": "Minor units by currency.",
    }
    return _object({"runs": {"type": "integer", "minimum": 1}, "money": money, "per": _SPAN})


def _caps() -> Schema:
    cap = {"tag": {"type": "string", "minLength": 1}, "at_most": {"type": "integer", "minimum": 1}, "per": _SPAN}
    return {"type": "array", "items": _object(cap, tuple(cap))}


def _hours() -> Schema:
    time = {"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$"}
    days = {"type": "array", "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}, "minItems": 1}
    zone = {"type": "string", "description": "`account`, or a time zone such as Europe/Berlin."}
    parts = {"days": days, "from": time, "to": time, "zone": zone, "applies_to": {**_TEXTS, "minItems": 1}}
    day = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "description": "A day of pause."}
    not_on = {"type": "array", "items": day, "maxItems": 366}
    return _object({**parts, "not_on": not_on}, tuple(parts))


def _examples() -> Schema:
    text = {"type": "string", "minLength": 1, "description": "`invoice.paid P-6D path=value ...`, or an event's id."}
    built = _object(
        {
            "type": {"type": "string"},
            "ago": _SPAN,
            "in": _SPAN,
            "at": _TIME,
            "set": {"type": "object", "description": "Values by path, such as data.object.amount_due."},
            "ours": {"type": "boolean", "description": "Our own action caused it."},
            **{subject: {"type": "string"} for subject in STAND_INS},
        },
        ("type",),
    )
    whole = {
        "type": "object",
        "required": ["id", "type", "created", "data"],
        "description": "A whole event of Stripe's.",
    }
    answers = {"type": "object", "additionalProperties": {"enum": list(ANSWERS)}, "description": "By step."}
    example = {
        "given": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"anyOf": [text, built, whole]}},
        "at": {**_TIME, "description": "What the events' spans count from."},
        "then": {"enum": list(FIRES)},
        "because": {"type": "string", "description": f"Words, or the gate that is closed: {', '.join(GATES)}."},
        "after": {**_SPAN, "description": "When to look where the run stands, counted from `at`."},
        "stands": {"type": "string", "description": f"A step's name, or {', '.join(ENDS)}."},
        "answers": answers,
        "on_lists": _TEXTS,
    }
    return {"type": "array", "items": _object(example, ("given", "then")), "maxItems": 50}


def _when() -> Schema:
    aggregate = {
        "of": {"enum": ["sum", "average", "min", "max", "distinct"]},
        "field": _PATH,
        "is": {"enum": ["equal to", "not equal to", *ops.COMPARE]},
        "value": {"type": "number"},
    }
    span = _object({"event": _EVENTS, "within": _SPAN}, ("event", "within"))
    return _object(
        {
            "event": _EVENTS,
            "at_least": {"type": "integer", "minimum": 1, "maximum": 1000},
            "within": _SPAN,
            "same": _SAME,
            "counting": {"anyOf": [{"const": "events"}, _PATH]},
            "aggregate": _object(aggregate, tuple(aggregate)),
            "then": {**span, "description": "And afterwards one of these; the trigger is this later event."},
            "and_not": {**span, "description": "And none of these afterwards; the trigger is the first event."},
            "first": {"type": "boolean"},
            "start_again_after": {**_EVENTS, "minItems": 0},
            "ignore_own": {"type": "boolean"},
        },
        ("event",),
    )


def _condition() -> Schema:
    parts = {"type": "array", "items": {"$ref": "#/$defs/condition"}}
    return {
        "oneOf": [
            _object({"all": parts}, ("all",)),
            _object({"any": {**parts, "minItems": 1}}, ("any",)),
            _object({"not": {"$ref": "#/$defs/condition"}}, ("not",)),
            {"$ref": "#/$defs/test"},
        ]
    }


def _test() -> Schema:
    other = _object({"field": _PATH, "plus": {"type": "number"}, "times": {"type": "number"}}, ("field",))
    other["not"] = {"required": ["plus", "times"]}
    value = {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}, other]}
    where = _ref("condition", "Holds for the list's items; its paths start in the item.")
    base = _object(
        {"field": _PATH, "is": {"enum": list(ops.OPERATORS)}, "value": value, "where": where}, ("field", "is")
    )
    bare = {"properties": {"is": {"enum": list(ops.BARE)}}}
    items = {"properties": {"is": {"enum": list(ops.ITEMS)}}}
    none = {"not": {"anyOf": [{"required": ["value"]}, {"required": ["where"]}]}}
    base["if"] = bare
    base["then"] = none
    base["else"] = {
        "if": items,
        "then": {"required": ["where"], "not": {"required": ["value"]}},
        "else": {"required": ["value"], "not": {"required": ["where"]}},
    }
    return base


# ---- steps ----------------------------------------------------------------------------------------------------------
def _step(properties: Schema, required: tuple[str, ...]) -> Schema:
    return _object({"name": _STEP_NAME, **properties}, ("name", *required))


def _do() -> Schema:
    action = {"type": "string", "pattern": r"^[a-z0-9_]+\.[a-z0-9_]+$"}
    params = {"type": "object", "description": "Texts may hold {{ path }}."}
    return _step({"do": action, "with": params, "on_failure": {"enum": ["stop", "continue", "person"]}}, ("do",))


def _wait() -> Schema:
    events = {"type": "array", "items": {"$ref": "#/$defs/stop"}, "minItems": 1, "maxItems": 20}
    in_hours = {"type": "boolean", "description": "When it is over outside the rule's hours, it lasts until they open."}
    forms = [
        _object({"for": _SPAN, "in_hours": in_hours}, ("for",)),
        _object({"until": _PATH, "minus": _SPAN, "in_hours": in_hours}, ("until",)),
        _object({"for_event": events, "at_most": _SPAN}, ("for_event", "at_most")),
    ]
    return _step({"wait": {"oneOf": forms}}, ("wait",))


def _if() -> Schema:
    otherwise = {"type": "array", "items": {"$ref": "#/$defs/step"}}
    return _step({"if": {"$ref": "#/$defs/condition"}, "then": _steps(), "else": otherwise}, ("if", "then"))


def _approve() -> Schema:
    approve = _object(
        {"role": {"type": "string", "minLength": 1}, "at_most": _SPAN, "on_timeout": {"enum": ["stop", "continue"]}},
        ("role",),
    )
    return _step({"approve": approve, "if": {"$ref": "#/$defs/condition"}}, ("approve",))


def _stop() -> Schema:
    return _step({"stop": {"type": "string", "minLength": 1}}, ("stop",))
