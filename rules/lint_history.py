"""Lint beside the real history: of whom a finding is true, pairs of rules that undid each other, and actions that come
when Stripe itself has acted already.

The rows are those of one backtest of the rules together, so what is shown here was decided as in production.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any, Final

from rules.effects import Act, Clash, acts, clashes
from rules.event import instant
from rules.learned import DELETED, FAILED, SOON, GivenUp, Learned, Retried, Spell
from rules.lint_pairs import family
from rules.looking import Finding
from rules.model import Do, If, Rule, Step, Wait
from rules.words import counted, span_text

SHOWN: Final = 20  # real subjects that a finding names
Row = Mapping[str, Any]
Places = dict[str, tuple[str, Do, int]]  # by step name: its path, itself, the seconds of waiting before it


def with_history(
    findings: Iterable[Finding], rules: Sequence[Rule], rows: Sequence[Row], learned: Learned, about: str | None = None
) -> list[Finding]:
    """The findings with the real subjects of whom they are true, and what only the history shows; most seen first."""
    met = _meetings(rules, rows)
    by_rule: dict[str, list[Row]] = {}
    for row in rows:
        by_rule.setdefault(row["rule"], []).append(row)
    found = [_seen(finding, met, by_rule) for finding in findings]
    known = {frozenset(finding.rules) for finding in found}
    found += [one for one in _only_real(rules, met, about) if frozenset(one.rules) not in known]
    for rule in rules:
        if about in (None, rule.id):
            found += _too_late(rule, learned.given_up, by_rule.get(rule.id, []))
            found += _retried(rule, learned.retried, by_rule.get(rule.id, []))
    return sorted(found, key=lambda finding: -finding.overlap)


# ---- rules that met --------------------------------------------------------------------------------------------------
Meeting = tuple[Row, Row, Act, Act, str]  # two runs of one customer, their opposite actions, what they say


def _meetings(rules: Sequence[Rule], rows: Sequence[Row]) -> dict[frozenset[str], list[Meeting]]:
    """Pairs of runs of one customer whose actions are opposite, where one acted while the other was on its way."""
    acting = {rule.id: acts(rule) for rule in rules}
    by_customer: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        by_customer.setdefault(row["customer"] or row["subject"], {}).setdefault(row["rule"], []).append(row)
    opposed: dict[tuple[str, str], list[Clash]] = {}
    met: dict[frozenset[str], list[Meeting]] = {}
    for mine in by_customer.values():
        for pair in combinations(sorted(mine), 2):
            if pair not in opposed:
                opposed[pair] = list(clashes(acting[pair[0]], acting[pair[1]]))
            meeting = next(_met(opposed[pair], mine[pair[0]], mine[pair[1]]), None) if opposed[pair] else None
            if meeting:
                met.setdefault(frozenset(pair), []).append(meeting)
    return met


def _met(opposed: Sequence[Clash], left: Sequence[Row], right: Sequence[Row]) -> Iterator[Meeting]:
    for a, b in product(left, right):
        for mine, theirs, one, other in opposed:
            if _undone(a, b, mine.step.name, theirs.step.name):
                yield a, b, mine, theirs, f"{one.words}|{other.words}"


def _undone(left: Row, right: Row, mine: str, theirs: str) -> bool:
    """Whether both acted, and the one that had begun first acted when the other had begun, or in the same minute."""
    one, other = _acted(left, mine), _acted(right, theirs)
    if one is None or other is None:
        return False
    if abs((instant(one) - instant(other)).total_seconds()) <= 60:
        return True
    older, newer, act = (left, right, one) if left["at"] <= right["at"] else (right, left, other)
    return bool(older["at"] <= newer["at"] <= act)


def _acted(row: Row, step: str) -> str | None:
    return next((one["at"] for one in row["steps"] if one["name"] == step and one["state"] in ("would", "done")), None)


def _seen(finding: Finding, met: Mapping[frozenset[str], list[Meeting]], by_rule: Mapping[str, list[Row]]) -> Finding:
    if finding.kind == "never fires":
        return finding
    if len(finding.rules) == 2:
        if finding.kind == "shadowed":
            return _both_fired(finding, by_rule)
        meetings = met.get(frozenset(finding.rules), [])
        return replace(finding, overlap=len(_subjects(m[0] for m in meetings)), seen=_real(m[:2] for m in meetings))
    rows = by_rule.get(finding.rules[0], [])
    return replace(finding, overlap=len(_subjects(rows)), seen=_real((row,) for row in rows))


def _both_fired(finding: Finding, by_rule: Mapping[str, list[Row]]) -> Finding:
    others = {row["trigger"]: row for row in by_rule.get(finding.rules[1], [])}
    both = [(row, others[row["trigger"]]) for row in by_rule.get(finding.rules[0], []) if row["trigger"] in others]
    return replace(finding, overlap=len(_subjects(one for one, _ in both)), seen=_real(both))


def _subjects(rows: Iterable[Row]) -> set[str]:
    return {row["subject"] for row in rows}


def _real(pairs: Iterable[Sequence[Row]]) -> tuple[dict[str, Any], ...]:
    """The latest of these as what a page shows: whom, when, and the events that began it."""
    found = [
        {
            "subject": rows[0]["subject"],
            "customer": rows[0]["customer"],
            "at": max(row["at"] for row in rows),
            "events": list(dict.fromkeys(event for row in rows for event in row["events"])),
        }
        for rows in pairs
    ]
    latest = sorted(found, key=lambda one: str(one["at"]), reverse=True)
    return tuple({one["subject"]: one for one in reversed(latest)}.values())[::-1][:SHOWN]


def _only_real(
    rules: Sequence[Rule], met: Mapping[frozenset[str], list[Meeting]], about: str | None
) -> Iterator[Finding]:
    """Collisions that no single occurrence explains, and that happened."""
    named = {rule.id: rule for rule in rules}
    for pair, meetings in met.items():
        if about is not None and about not in pair:
            continue
        first, second, mine, theirs, words = meetings[-1]
        one, other = words.split("|")
        if second["rule"] == about:
            first, second, mine, theirs, one, other = second, first, theirs, mine, other, one
        count = len(_subjects(m[0] for m in meetings))
        sentence = (
            f"It collides with “{named[second['rule']].name}”: this rule {one} and that one {other}, and both were "
            f"under way for {counted(count, 'customer')} of the history."
        )
        witness = tuple({"id": id} for row in (first, second) for id in row["events"])
        ids = (first["rule"], second["rule"])
        seen = _real(m[:2] for m in meetings)
        yield Finding("collision", ids, mine.path, sentence, witness, (theirs.path,), seen, count)


# ---- what Stripe does itself -----------------------------------------------------------------------------------------
def _too_late(rule: Rule, given_up: GivenUp | None, rows: Sequence[Row]) -> Iterator[Finding]:
    """Steps of a dunning rule that come when Stripe has cancelled the subscription."""
    if given_up is None or not _is_dunning(rule):
        return
    late = [spot for spot in timed(rule.steps).values() if spot[2] >= given_up.day * 86400]
    ended = {spell.subscription.partition(":")[2]: spell for spell in given_up.spells}
    customers = {(spell.customer or "").partition(":")[2]: spell for spell in given_up.spells}
    for path, step, after in late[:1]:
        spells = [(row, ended.get(row["subject"]) or customers.get(row["customer"] or "")) for row in rows]
        overtaken = [row for row, spell in spells if spell and _overtaken(row, step.name, spell)]
        if not overtaken:
            continue
        sentence = (
            f"Stripe cancelled {given_up.count} of {counted(given_up.unpaid, 'unpaid subscription')} by day "
            f"{given_up.day} after the first failed payment, in the history here. The step “{step.name}” comes "
            f"{span_text(after)} after the rule has begun: too late."
        )
        spell = ended.get(overtaken[-1]["subject"]) or customers[overtaken[-1]["customer"] or ""]
        witness = tuple({"id": id} for id in dict.fromkeys((*overtaken[-1]["events"], *spell.events)))
        seen = _real((row,) for row in overtaken)
        yield Finding("too late", (rule.id,), path, sentence, witness, (), seen, len(_subjects(overtaken)))


def _overtaken(row: Row, step: str, spell: Spell) -> bool:
    """Whether the rule had begun before Stripe gave up, and its step was still to come."""
    if spell.ended is None or not spell.began <= instant(row["at"]).timestamp() <= spell.ended:
        return False
    acted = _acted(row, step)
    return acted is None or instant(acted).timestamp() >= spell.ended


def _retried(rule: Rule, retried: Retried | None, rows: Sequence[Row]) -> Iterator[Finding]:
    """A retry of ours where Stripe tries by itself."""
    if retried is None or not any(family(kind) == family(FAILED) for kind in rule.when.types):
        return
    for path, step, after in timed(rule.steps).values():
        if step.action != "stripe.pay_invoice" or after > SOON:
            continue
        ours = {event for row in rows for event in row["events"]}
        pairs = [pair for pair in retried.pairs if pair[3][0] in ours]
        if not pairs:
            return
        sentence = (
            f"Stripe already tries again within 12 hours: it did so for {retried.count} of "
            f"{counted(retried.failed, 'failed payment')} in the history here. The step “{step.name}” is one try more."
        )
        triggers = {event: row for row in rows for event in row["events"]}
        seen = _real((triggers[pair[3][0]],) for pair in pairs)
        witness = tuple({"id": id} for id in pairs[-1][3])
        yield Finding("retried already", (rule.id,), path, sentence, witness, (), seen, len({p[0] for p in pairs}))
        return


def _is_dunning(rule: Rule) -> bool:
    failing = any(family(kind) == family(FAILED) for kind in rule.when.types)
    return failing and not any(kind == DELETED for kind in rule.when.types)


def timed(steps: Sequence[Step], path: str = "steps", after: int = 0) -> Places:
    """Every action with its place and the seconds of waiting before it; a wait for an event counts as long as it may
    last. What comes after a wait for an unknown time is left out."""
    found: Places = {}
    for index, step in enumerate(steps):
        spot = f"{path}[{index}]"
        if isinstance(step, Do):
            found[step.name] = (spot, step, after)
        elif isinstance(step, If):
            found |= timed(step.then, f"{spot}.then", after) | timed(step.otherwise, f"{spot}.else", after)
        elif isinstance(step, Wait):
            lasts = step.seconds if step.seconds is not None else step.at_most
            if lasts is None:
                return found
            after += lasts
    return found
