"""M3's peers as workers: each is given the same rules and parsed events, and answers which rules hold for each event.

A rule is {"id", "type", "if": [[path, operator, value], ...]}, all of which must hold. Every system has its rules in a
dictionary by event type, so none is asked about rules of other types. `python -m bench.peers.matching NAME WORK` reads
its work, builds, prints what that cost, and then takes one turn for each line of its standard input.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Rule = dict[str, Any]
Match = Callable[[Event], list[str]]
LEAST = 0.2  # seconds of CPU of a turn


def serve(name: str, systems: Mapping[str, Callable[[list[Rule]], Match]], work: Path) -> None:
    given = json.loads(work.read_text())
    rules, events = given["rules"], given["events"]
    gc.collect()
    memory, began = resident(), time.process_time()
    match = systems[name](rules)
    say({"compile": time.process_time() - began, "memory": resident() - memory})
    say({"answers": [sorted(match(event)) for event in events]})
    for _ in sys.stdin:
        say({"micros": turn(match, events)})


def turn(match: Match, events: list[Event]) -> float:
    """Microseconds of CPU an event: whole passes over the events for at least LEAST seconds."""
    done, began = 0, time.process_time()
    while True:
        for event in events:
            match(event)
        done += len(events)
        spent = time.process_time() - began
        if spent >= LEAST:
            return spent / done * 1e6


def resident() -> float:
    """Megabytes now; where there is no /proc, the most there ever were."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def by_type(rules: list[Rule]) -> dict[str, list[Rule]]:
    found = defaultdict(list)
    for rule in rules:
        found[rule["type"]].append(rule)
    return dict(found)


# ---- JSONLogic ------------------------------------------------------------------------------------------------------
def json_logic(rule: Rule) -> Any:
    return {"and": [_json_logic(*test) for test in rule["if"]]}


def _json_logic(path: str, operator: str, value: Any) -> Any:
    field = {"var": path}
    if operator == "between":
        return {"<=": [value[0], field, value[1]]}
    return {{"equal": "===", "in": "in", "least": ">="}[operator]: [field, value]}


def datalogic(rules: list[Rule]) -> Match:
    """One compiled expression an event type that answers a list: faster than one call a rule."""
    import datalogic_py

    engine = datalogic_py.Engine()
    session = engine.session()
    compiled = {
        kind: ([one["id"] for one in found], engine.compile([json_logic(one) for one in found]))
        for kind, found in by_type(rules).items()
    }

    def match(event: Event) -> list[str]:
        ids, rule = compiled.get(event["type"], ((), None))
        if rule is None:
            return []
        return [id for id, holds in zip(ids, session.evaluate(rule, event), strict=True) if holds]

    return match


def panzi(rules: list[Rule]) -> Match:
    from json_logic import jsonLogic

    grouped = {kind: [(one["id"], json_logic(one)) for one in found] for kind, found in by_type(rules).items()}
    return lambda event: [id for id, rule in grouped.get(event["type"], ()) if jsonLogic(rule, event)]


# ---- expressions ----------------------------------------------------------------------------------------------------
def cel(rules: list[Rule]) -> Match:
    from cel_expr_python import cel as library

    env = library.NewEnv(variables={"e": library.Type.DYN})
    grouped = {
        kind: [(one["id"], env.compile(" && ".join(_cel(*test) for test in one["if"]))) for one in found]
        for kind, found in by_type(rules).items()
    }

    def match(event: Event) -> list[str]:
        activation = env.Activation({"e": event})
        return [id for id, rule in grouped.get(event["type"], ()) if rule.eval(activation).value() is True]

    return match


def _cel(path: str, operator: str, value: Any) -> str:
    if operator == "between":
        return f"e.{path} >= {value[0]} && e.{path} <= {value[1]}"
    return f"e.{path} { {'equal': '==', 'in': 'in', 'least': '>='}[operator] } {json.dumps(value)}"


def zen(rules: list[Rule]) -> Match:
    """One decision an event type, with one expression node that holds all of its rules."""
    import zen as library

    engine = library.ZenEngine()
    decisions = {kind: engine.create_decision(json.dumps(_graph(found))) for kind, found in by_type(rules).items()}

    def match(event: Event) -> list[str]:
        decision = decisions.get(event["type"])
        found = decision.evaluate(event)["result"] if decision else {}
        return [id for id, holds in found.items() if holds]

    return match


def _graph(rules: list[Rule]) -> Any:
    expressions = [
        {"id": one["id"], "key": one["id"], "value": " and ".join(_zen(*test) for test in one["if"])} for one in rules
    ]
    nodes = [
        {"id": "in", "name": "in", "type": "inputNode"},
        {"id": "all", "name": "all", "type": "expressionNode", "content": {"expressions": expressions}},
        {"id": "out", "name": "out", "type": "outputNode"},
    ]
    edges = [
        {"id": "1", "sourceId": "in", "targetId": "all", "type": "edge"},
        {"id": "2", "sourceId": "all", "targetId": "out", "type": "edge"},
    ]
    return {"nodes": nodes, "edges": edges}


def _zen(path: str, operator: str, value: Any) -> str:
    if operator == "between":
        return f"{path} in [{value[0]}..{value[1]}]"
    return f"{path} { {'equal': '==', 'in': 'in', 'least': '>='}[operator] } {json.dumps(value)}"


# ---- business-rules -------------------------------------------------------------------------------------------------
def business(rules: list[Rule]) -> Match:
    """Its variables are methods: one for each field that the rules read."""
    from business_rules.engine import check_conditions_recursively
    from business_rules.variables import BaseVariables, boolean_rule_variable, numeric_rule_variable
    from business_rules.variables import string_rule_variable as text

    kinds = {bool: boolean_rule_variable, int: numeric_rule_variable, str: text}

    class Fields(BaseVariables):  # type: ignore[misc]
        def __init__(self, event: Event) -> None:
            self.event = event

    for path, kind in {(path, _kind(operator, value)) for rule in rules for path, operator, value in rule["if"]}:
        setattr(Fields, _name(path), kinds[kind]()(_getter(path)))
    grouped = {kind: [(one["id"], _business(one)) for one in found] for kind, found in by_type(rules).items()}

    def match(event: Event) -> list[str]:
        fields = Fields(event)
        found = grouped.get(event["type"], ())
        return [id for id, condition in found if check_conditions_recursively(condition, fields)]

    return match


def _name(path: str) -> str:
    return path.replace(".", "_")


def _kind(operator: str, value: Any) -> type:
    return type(value[0]) if operator in ("between", "in") else type(value)


def _getter(path: str) -> Callable[[Any], Any]:
    keys = path.split(".")

    def get(self: Any) -> Any:
        value = self.event
        for key in keys:
            value = value[key]
        return value

    get.__name__ = _name(path)
    return get


def _business(rule: Rule) -> Any:
    return {"all": [part for test in rule["if"] for part in _comparisons(*test)]}


def _comparisons(path: str, operator: str, value: Any) -> list[Any]:
    name = _name(path)
    if operator == "between":
        low, high = value
        return [{"name": name, "operator": "greater_than_or_equal_to", "value": low},
                {"name": name, "operator": "less_than_or_equal_to", "value": high}]  # fmt: skip
    if operator == "in":
        return [{"any": [{"name": name, "operator": "equal_to", "value": one} for one in value]}]
    if isinstance(value, bool):
        return [{"name": name, "operator": "is_true" if value else "is_false", "value": True}]
    return [{"name": name, "operator": "equal_to" if operator == "equal" else "greater_than_or_equal_to",
             "value": value}]  # fmt: skip


SYSTEMS: dict[str, Callable[[list[Rule]], Match]] = {
    "datalogic-py": datalogic,
    "zen-engine": zen,
    "cel-expr-python": cel,
    "business-rules": business,
    "panzi-json-logic": panzi,
}

if __name__ == "__main__":
    serve(sys.argv[1], SYSTEMS, Path(sys.argv[2]))
