"""Browse: questions of the store, answered as plain dicts for the pages and the JSON API alike. Nothing is written.

Every read is bounded and served by an index that rules.kinds declares; lists go on from an opaque cursor.
"""

from __future__ import annotations

from app.browse.audit import audit
from app.browse.customers import customer, customers
from app.browse.dead_letters import causes, dead_letters
from app.browse.decision import shown_at
from app.browse.deliveries import command, commands, connections
from app.browse.events import event, events
from app.browse.find import find
from app.browse.journey import journey, journeys
from app.browse.naming import Names
from app.browse.overview import needs_you, overview, waiting
from app.browse.runs import rule_names, run, runs

__all__ = [
    "Names",
    "audit",
    "causes",
    "command",
    "commands",
    "connections",
    "customer",
    "customers",
    "dead_letters",
    "event",
    "events",
    "find",
    "journey",
    "journeys",
    "needs_you",
    "overview",
    "rule_names",
    "run",
    "runs",
    "shown_at",
    "waiting",
]
