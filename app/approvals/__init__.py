"""Approvals: what lets money move more freely takes a second person."""

from __future__ import annotations

from app.approvals.changes import Change, Office
from app.approvals.office import (
    LONGEST,
    STATES,
    Outcome,
    acknowledge,
    approve,
    asks,
    change,
    decline,
    needed,
    of_rule,
    proposal,
    proposals,
    waiting,
    withdraw,
)

__all__ = [
    "LONGEST",
    "STATES",
    "Change",
    "Office",
    "Outcome",
    "acknowledge",
    "approve",
    "asks",
    "change",
    "decline",
    "needed",
    "of_rule",
    "proposal",
    "proposals",
    "waiting",
    "withdraw",
]
