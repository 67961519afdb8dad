"""Provision: what a Google Cloud project needs, shown first and made when asked."""

from __future__ import annotations

from app.provision.project import (
    SECRETS,
    Command,
    Place,
    Run,
    Step,
    foundations,
    grants,
    make,
    missing,
    next_steps,
    number_of,
    steps,
)

__all__ = [
    "SECRETS",
    "Command",
    "Place",
    "Run",
    "Step",
    "foundations",
    "grants",
    "make",
    "missing",
    "next_steps",
    "number_of",
    "steps",
]
