"""Commands on rules: list, show, check, lint, export, import, publish now or by a plan, pause, resume and archive."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import approvals, author
from app.approvals import Change
from app.cli import plans
from app.cli.commands import ACTOR, CommandError, command, complain, read_json, say, show, table, tenant_of
from app.declared import paths_of
from app.services import office_of
from rules.lint import Finding
from rules.model import RuleError
from rules.rule import parse

if TYPE_CHECKING:
    from app.services import Services

RULE = {"flag": False, "metavar": "RULE", "help": "the rule's id"}
NOTE = {"default": "", "help": "why; kept in the audit log"}
EMERGENCY = {"action": "store_true", "help": "now, without a second person; loud, and to be acknowledged by one"}


def register(subparsers: Any) -> None:
    top = subparsers.add_parser("rules", help="list, show, check, export, import and publish rules")
    rules = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(rules, "list", "every rule with its state", ["rules list", "rules list --json"], list_rules)
    command(
        rules,
        "show",
        "one rule in plain English, with what is wrong in its draft",
        ["rules show two-failed-payments"],
        show_rule,
        rule=RULE,
    )
    command(
        rules,
        "check",
        "what is wrong in a file; nothing is kept",
        ["rules check rule.json", "rules check - < rule.json"],
        check_file,
        file=_file("to check"),
    )
    command(
        rules,
        "lint",
        "what is odd about the rules in force: rules that never fire, collide, or go round in circles",
        ["rules lint", "rules lint two-failed-payments", "rules lint --json"],
        lint_rules,
        rule={"flag": False, "metavar": "RULE", "nargs": "?", "help": "only what concerns this rule"},
    )
    command(
        rules,
        "test",
        "run the saved examples of rules: given these events, it fires or it does not",
        ["rules test", "rules test two-failed-payments", "rules test --file rule.json"],
        test_rules,
        rule={"flag": False, "metavar": "RULE", "nargs": "*", "help": "ids; without any, all but archived ones"},
        file={"metavar": "FILE", "help": "rule documents in a file instead; - is standard input"},
    )
    command(
        rules,
        "export",
        "rule documents as files, or on standard output",
        ["rules export two-failed-payments > rule.json", "rules export --to rules/"],
        export_rules,
        rule={"flag": False, "metavar": "RULE", "nargs": "*", "help": "ids; without any, all but archived ones"},
        to={"metavar": "FOLDER", "help": "one file for each rule, named after its id"},
    )
    command(
        rules,
        "import",
        "rule documents from files, as drafts; one in a file, or a list",
        ["rules import rule.json", "rules import rules/*.json --publish --note 'from staging'"],
        import_rules,
        file=_file("of rule documents", nargs="+"),
        note=NOTE,
        publish={"action": "store_true", "help": "put each live"},
    )
    command(
        rules,
        "publish",
        "put the draft live as the next version, now or by a plan",
        [
            "rules publish two-failed-payments --note 'agreed with sales'",
            "rules publish two-failed-payments --at 2026-12-01T09:00",
            "rules publish two-failed-payments --phases 10,50,100 --every 1d",
        ],
        publish_rule,
        rule=RULE,
        note=NOTE,
        watch={"action": "store_true", "help": "only watch: decide and send nothing"},
        at={"metavar": "TIME", "help": "when: 2026-12-01T09:00 in the office's time zone, or with an offset"},
        phases={"metavar": "PERCENTS", "help": "in phases for a growing share: 10,50,100; the first at --at, or now"},
        every={"metavar": "SPAN", "default": "1d", "help": "from one phase to the next: 1d, 6h, 15m"},
        emergency=EMERGENCY,
    )
    command(
        rules,
        "plan",
        "when the rule goes in force by itself, and what became of it",
        ["rules plan two-failed-payments"],
        plans.show_plan,
        rule=RULE,
    )
    command(
        rules,
        "withdraw",
        "let no later phase of the plan come; what is in force stays",
        ["rules withdraw two-failed-payments --note 'not before the holidays'"],
        plans.withdraw_plan,
        rule=RULE,
        note=NOTE,
    )
    for name, words in (
        ("pause", "start no runs until resumed"),
        ("resume", "go on as before the pause"),
        ("archive", "take it out of force and out of the lists"),
    ):
        made = command(rules, name, words, [f"rules {name} two-failed-payments"], change_rule, rule=RULE, note=NOTE)
        made.set_defaults(verb=name)
        if name == "resume":
            choices = ("keep", "start", "drop")
            made.add_argument("--queued", choices=choices, default="keep", help="what stood in line during the pause")
    command(
        rules,
        "rollback",
        "put an earlier version in force",
        ["rules rollback two-failed-payments 3"],
        rollback_rule,
        rule=RULE,
        note=NOTE,
        number={"flag": False, "type": int, "metavar": "VERSION"},
        emergency=EMERGENCY,
    )


def _file(what: str, **more: Any) -> Mapping[str, Any]:
    return {"flag": False, "metavar": "FILE", "help": f"JSON {what}; - is standard input", **more}


# ---- reading --------------------------------------------------------------------------------------------------------
def list_rules(given: argparse.Namespace, services: Services) -> None:
    rows = author.rules(services.store, tenant_of(given, services))

    def lines() -> Iterator[str]:
        if not rows:
            yield "There are no rules yet. `python main.py rules import FILE` brings one in; the pages make one."
            return
        heads = ("RULE", "STATE", "VERSION", "DRAFT", "NAME")
        yield from table([heads, *((r["id"], r["state"], r["number"], _draft(r), r["name"]) for r in rows)])

    show(given, rows, lines)


def _draft(row: Mapping[str, Any]) -> str:
    if not row["draft"]:
        return "-"
    return f"{row['problems']} problems" if row["problems"] else "ready"


def show_rule(given: argparse.Namespace, services: Services) -> None:
    tenant = tenant_of(given, services)
    row = author.rule(services.store, tenant, given.rule)
    document = row["document"] or {}
    found = author.problems(services.store, services.catalogue, services.connectors, tenant, document)

    def lines() -> Iterator[str]:
        version = f"version {row['number']}" if row["number"] else "never published"
        yield f"{row['name']}  ({row['id']}, {row['state']}, {version})"
        if row["draft"] and row["number"]:
            yield "What follows is the draft."
        yield from _english(services, tenant, document)
        yield from (f"{one.severity}: {one.path}: {one.message}" for one in found)

    show(given, row, lines)


def _english(services: Services, tenant: str, document: Mapping[str, Any]) -> Iterator[str]:
    try:
        rule = parse(document, services.catalogue, services.connectors, paths_of(services.store, tenant))
    except RuleError:
        yield "It cannot be read back until it is mended:"
        return
    from rules.english import read_back

    yield read_back(rule, services.catalogue)


def check_file(given: argparse.Namespace, services: Services) -> int:
    tenant = tenant_of(given, services)
    errors = 0
    report: list[dict[str, Any]] = []
    for document in documents(given.file):
        found = author.problems(services.store, services.catalogue, services.connectors, tenant, document)
        errors += sum(one.severity == "error" for one in found)
        report.append(
            {"id": document.get("id"), "problems": [{**one.body(), "severity": one.severity} for one in found]}
        )
    show(given, report, lambda: _checked(report))
    return 2 if errors else 0


def _checked(report: list[dict[str, Any]]) -> Iterator[str]:
    for one in report:
        yield f"{one['id']}: {'no problems' if not one['problems'] else ''}".rstrip()
        for problem in one["problems"]:
            hint = f" (perhaps {problem['suggestion']})" if problem["suggestion"] else ""
            yield f"  {problem['severity']}: {problem['path']}: {problem['message']}{hint}"


def lint_rules(given: argparse.Namespace, services: Services) -> None:
    from app.author import lint

    tenant = tenant_of(given, services)
    document = author.rule(services.store, tenant, given.rule)["document"] if given.rule else None
    looked = lint.looked(services.store, services.catalogue, tenant, services.clock.now(), document)

    def lines() -> Iterator[str]:
        if not looked.findings:
            yield "Nothing is odd about the rules in force."
        for one in looked.findings:
            yield f"{one.rules[0]}: {one.path}: {one.sentence}"
            yield f"  shown by {_witness(one)}; --json prints what is in them"
        if looked.days:
            yield f"Looked at {looked.events:,} events of the last {looked.days} days."

    show(given, [one.body() for one in looked.findings], lines)


def _witness(found: Finding) -> str:
    """Whom it is true of, else the events that were made to show it."""
    if found.seen:
        others = f" and {found.overlap - 1} more" if found.overlap > 1 else ""
        return f"{found.seen[0]['subject']}{others} in the history ({', '.join(found.seen[0]['events'])})"
    kinds = " and ".join(dict.fromkeys(str(event["type"]) for event in found.witness))
    return f"{len(found.witness)} constructed event{'s' if len(found.witness) > 1 else ''} ({kinds})"


def test_rules(given: argparse.Namespace, services: Services) -> int:
    """Those of the draft, else of what is in force. 2 when one does not hold."""
    from app.author import examples

    store, tenant = services.store, tenant_of(given, services)
    ran = [
        (document, examples.results(store, services.catalogue, tenant, document))
        for document in _asked(given, services, tenant)
    ]
    report = [{"id": document.get("id"), "examples": [one.body() for one in found]} for document, found in ran]
    show(given, report, lambda: _tested(report))
    return 0 if all(one.holds for _, found in ran for one in found) else 2


def _asked(given: argparse.Namespace, services: Services, tenant: str) -> list[Mapping[str, Any]]:
    if given.file:
        return documents(given.file)
    rows = author.rules(services.store, tenant)
    ids = given.rule or [row["id"] for row in rows if row["state"] != "archived"]
    return [author.rule(services.store, tenant, id)["document"] or {"id": id} for id in ids]


def _tested(report: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for rule in report:
        yield f"{rule['id']}: {len(rule['examples']) or 'no'} examples"
        for one in rule["examples"]:
            sign = "holds " if one["holds"] else "BROKEN"
            yield f"  {sign} {one['example'] + 1}. {one['expected']} {one['happened']}"


def export_rules(given: argparse.Namespace, services: Services) -> None:
    tenant = tenant_of(given, services)
    ids = given.rule or [row["id"] for row in author.rules(services.store, tenant) if row["state"] != "archived"]
    found = [author.rule(services.store, tenant, id)["document"] for id in ids]
    if not given.to:
        say(json.dumps(found[0] if len(given.rule) == 1 else found, indent=2, ensure_ascii=False))
        return
    folder = Path(given.to)
    folder.mkdir(parents=True, exist_ok=True)
    for document in found:
        (folder / f"{document['id']}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    say(f"{len(found)} rules written to {folder}/")


# ---- changing -------------------------------------------------------------------------------------------------------
def import_rules(given: argparse.Namespace, services: Services) -> int:
    tenant = tenant_of(given, services)
    failed = 0
    for path in given.file:
        for document in documents(path):
            failed += not _import(given, services, tenant, path, document)
    return 2 if failed else 0


def _import(given: argparse.Namespace, services: Services, tenant: str, path: str, document: Mapping[str, Any]) -> bool:
    """Whether it could be kept, and published where that was asked."""
    store, catalogue, actions, now = services.store, services.catalogue, services.connectors, services.clock.now()
    try:
        row = author.save_draft(store, services.vault, catalogue, actions, tenant, document, ACTOR, now)
        if given.publish and row["draft"]:
            row = _in_force(given, services, Change("publish", row["id"], {}))
    except RuleError as error:
        for problem in error.problems:
            complain(f"{path}: {problem.path or 'document'}: {problem.message}")
        return False
    asked = ", asked for approval" if row.get("proposal") else ""
    draft = (
        asked or f", draft with {_draft(row)}" if asked or row["problems"] else ", draft saved" if row["draft"] else ""
    )
    say(f"{row['id']}: {row['state']}, version {row['number'] or '-'}{draft}")
    return True


def documents(path: str) -> list[Mapping[str, Any]]:
    """The rule documents in a file: one, a list, or `{"rules": [...]}`."""
    found = read_json(path)
    listed = found.get("rules", [found]) if isinstance(found, dict) and "when" not in found else found
    listed = listed if isinstance(listed, list) else [listed]
    if not listed or not all(isinstance(one, dict) for one in listed):
        raise CommandError(f"{path} holds no rule documents: one JSON object, or a list of them")
    return listed


def publish_rule(given: argparse.Namespace, services: Services) -> None:
    if given.at or given.phases:
        found = _in_force(given, services, plans.wanted(given, services))
        (_say if found.get("proposal") else plans.say_plan)(given, found)
        return
    _say(given, _in_force(given, services, Change("watch" if given.watch else "publish", given.rule, {})))


def change_rule(given: argparse.Namespace, services: Services) -> None:
    if given.verb == "resume":
        _say(given, _in_force(given, services, Change("resume", given.rule, {"queued": given.queued})))
        return
    tenant = tenant_of(given, services)
    change = {"pause": author.pause, "archive": author.archive}[given.verb]
    _say(given, change(services.store, tenant, given.rule, ACTOR, given.note, services.clock.now()))


def rollback_rule(given: argparse.Namespace, services: Services) -> None:
    _say(given, _in_force(given, services, Change("rollback", given.rule, {"number": given.number})))


def _in_force(given: argparse.Namespace, services: Services, wanted: Change) -> author.Row:
    """The rule after the change; where it takes a second person, as it is, with what was asked for."""
    tenant, now = tenant_of(given, services), services.clock.now()
    emergency = getattr(given, "emergency", False)
    came = approvals.change(office_of(services), tenant, wanted, ACTOR, given.note, now, emergency=emergency)
    if came.done is not None:
        return came.done
    return {**author.rule(services.store, tenant, wanted.about), "proposal": came.proposal}


def _say(given: argparse.Namespace, row: Mapping[str, Any]) -> None:
    asked = row.get("proposal")
    more = [f"asked for: {asked['title']} ({asked['id']}); somebody else has to approve it"] if asked else []
    show(given, row, lambda: iter([f"{row['id']}: {row['state']}, version {row['number'] or '-'}", *more]))
