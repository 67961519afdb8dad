"""Services holds every port, wired by hand in `build`; use cases take the ports they need as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.rulesets import RuleSets
from app.settings import Settings
from rules.fields import Catalogue
from rules.ports import ActionExecutor, Bus, Clock, Inbox, Secrets, Store, Tracer, Vault, Verifier


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    clock: Clock
    store: Store
    bus: Bus
    inbox: Inbox
    vault: Vault
    secrets: Secrets
    verifier: Verifier
    tracer: Tracer
    connectors: Mapping[str, ActionExecutor]  # by action name, `stripe.change_plan`
    catalogue: Catalogue
    rulesets: RuleSets
