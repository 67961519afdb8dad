"""RuleSets holds what is in force for each tenant, compiled, and swaps it when the tenant's revision pointer moves.

Rule sets are immutable: a decision that has begun ends on the set it began with. Published versions never change, so
their parsed form is kept.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from app import logs, tenant_settings
from app.declared import paths_of
from app.perform import dry_run
from app.routes import routes_of
from rules.hours import of_account
from rules.matcher import Matcher
from rules.model import Rule, RuleError, RuleVersion
from rules.ports import Document, Store, Unavailable
from rules.route import ByType
from rules.rule import parse
from rules.ruleset import RuleSet, build

IN_FORCE: Final[Mapping[str, Any]] = {"live": "live", "watch": "watch", "paused": "paused"}
FRESH = timedelta(seconds=1)  # a published rule is in force within this time
SOON = timedelta(seconds=0.5)  # and a dry run begins within this
READS = 5  # in a row, when the rules change while they are read
_PARSED = 5000  # versions kept in memory


@dataclass(frozen=True, slots=True)
class _Read:
    """What a set is built from."""

    versions: list[RuleVersion]
    paths: tuple[str, ...]
    routes: ByType


@dataclass(frozen=True, slots=True)
class _Known:
    revision: int
    ruleset: RuleSet
    read_at: datetime | None
    is_dry: bool


class RuleSets:
    """Thread-safe. One for each process. dry_run: whatever the switch says (app.perform.dry_run)."""

    def __init__(self, matcher: Matcher, dry_run: bool = False) -> None:
        self.matcher = matcher
        self.always_dry = dry_run
        self._dry: tuple[bool, datetime | None] = (False, None)
        self._known: dict[str, _Known] = {}
        self._parsed: OrderedDict[tuple[str, str, int], Rule] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, tenant: str) -> bool:
        """Whether this process has worked for the tenant already."""
        return tenant in self._known

    def current(self, store: Store, tenant: str, now: datetime | None = None) -> RuleSet:
        """What is in force. now: when given, the revision pointer is read again only after a second."""
        known = self._known.get(tenant)
        if known and now and known.read_at and timedelta(0) <= now - known.read_at < FRESH:
            return known.ruleset
        with self._lock:
            return self._refreshed(store, tenant, now)

    def rule(self, store: Store, tenant: str, rule_id: str, number: int) -> Rule:
        """A published version's rule, in force or not. Raises LookupError when there is no such version."""
        key = (tenant, rule_id, number)
        found = self._parsed.get(key)
        if found is None:
            document = store.get(tenant, "rule_version", f"{rule_id}@{number}")
            if document is None:
                raise LookupError(f"rule {rule_id} has no version {number}")
            found = parse(document.body["document"])
            self._parsed[key] = found
            while len(self._parsed) > _PARSED:
                self._parsed.popitem(last=False)
        return of_account(found, lambda: tenant_settings.hours_of(store, tenant))

    def is_dry(self, store: Store, now: datetime | None = None) -> bool:
        """Whether nothing may be sent. now: when given, the switch is read again only after half a second."""
        if self.always_dry:
            return True
        was, read_at = self._dry
        if now and read_at and timedelta(0) <= now - read_at < SOON:
            return was
        self._dry = (bool(dry_run.read(store)["on"]), now)
        return self._dry[0]

    def close(self) -> None:
        with self._lock:
            for known in self._known.values():
                known.ruleset.close()
            self._known.clear()

    def _refreshed(self, store: Store, tenant: str, now: datetime | None) -> RuleSet:
        revision = _revision(store, tenant)
        known, is_dry = self._known.get(tenant), self.is_dry(store, now)
        if known and (known.revision, known.is_dry) == (revision, is_dry):
            self._known[tenant] = _Known(revision, known.ruleset, now, is_dry)
            return known.ruleset
        for _ in range(READS):
            read = _Read(list(self._versions(store, tenant)), paths_of(store, tenant), routes_of(store, tenant))
            before, revision = revision, _revision(store, tenant)
            if revision == before:  # nothing of it changed while it was read
                ruleset = self._built(tenant, read, is_dry)
                self._known[tenant] = _Known(revision, ruleset, now, is_dry)
                if known:
                    known.ruleset.close()
                    logs.line("rules.swapped", tenant=tenant, revision=revision, rules=len(ruleset.versions))
                return ruleset
        if known:
            return known.ruleset  # the last that was whole; the next look tries again
        raise Unavailable("the rules changed again and again while they were read")

    def _built(self, tenant: str, read: _Read, is_dry: bool) -> RuleSet:
        known = self._known.get(tenant)
        versions = [_simulated(version) for version in read.versions] if is_dry else read.versions
        ruleset = build(tenant, versions, self.matcher, read.paths, known.ruleset if known else None)
        return replace(ruleset, routes={} if is_dry else read.routes)

    def _versions(self, store: Store, tenant: str) -> Iterator[RuleVersion]:
        for document in _in_force(store, tenant):
            body = document.body
            number = body.get("number")
            if number is None:
                continue
            try:
                rule = self.rule(store, tenant, document.id, int(number))
            except (RuleError, LookupError) as error:  # one that an older release took must not stop the others
                logs.line("rules.unreadable", logging.ERROR, tenant=tenant, rule=document.id, error=str(error))
                continue
            mode = IN_FORCE[body["state"]]
            before: Literal["live", "watch"] = "watch" if body.get("paused_from") == "watch" else "live"
            yield RuleVersion(tenant, rule, int(number), mode, body.get("live_from") or "", before)


def _revision(store: Store, tenant: str) -> int:
    """It moves in the very commit that changes what is in force."""
    pointer = store.get(tenant, "ruleset", "current")
    return int(pointer.body["revision"]) if pointer else 0


def _simulated(version: RuleVersion) -> RuleVersion:
    """As if the rule only watched: a live one, and one that was live before its pause."""
    return replace(version, mode="watch") if version.mode == "live" else version


def _in_force(store: Store, tenant: str) -> Iterator[Document]:
    for state in IN_FORCE:
        after = None
        while True:
            page = store.find(tenant, "rule", [("state", "==", state)], "updated_at", after, 500)
            yield from page.items
            after = page.next
            if after is None:
                break
