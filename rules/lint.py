"""Lint: what is odd about the rules in force together, each finding with a witness that was really decided about.

A finding is a sentence, the places it is about, and events that show it. What cannot be shown is not said: every event
here is made by rules.satisfy, and the rules then decide about it as they would in production (rules.witness).
`compared` counts the pairs of rules that were put to the question; what is odd beside Stripe's own doings as the
account's history tells them is rules.lint_history's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rules.catalogue import Catalogue
from rules.lint_alone import alone
from rules.lint_pairs import MOST_PAIRS, loops, pairs
from rules.looking import Finding, Kind, Look
from rules.model import Rule

__all__ = ["MOST_PAIRS", "Finding", "Kind", "Lint", "lint", "ranked"]


def lint(rules: Iterable[Rule], catalogue: Catalogue, about: str | None = None) -> list[Finding]:
    """Everything to say about these rules; with `about`, only what concerns the rule of that id."""
    return Lint(rules, catalogue).findings(about)


@dataclass
class Lint(Look):
    """One look at a set of rules."""

    def findings(self, about: str | None = None) -> list[Finding]:
        rules = sorted(self.rules, key=lambda rule: rule.id)
        mine = [rule for rule in rules if about in (None, rule.id)]
        found = [finding for rule in mine for finding in alone(self, rule)]
        odd = {finding.rules[0] for finding in found if finding.kind == "never fires"}
        sound = [rule for rule in rules if rule.id not in odd]
        return [*found, *pairs(self, sound, about), *loops(self, sound, about)]


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Those that the real history shows first, by how many of its subjects."""
    return sorted(findings, key=lambda finding: -finding.overlap)
