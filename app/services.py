"""Services holds every port, wired by hand in `build`; use cases take the ports they need as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.settings import Settings
from rules.ports import ActionExecutor, Bus, Clock, Inbox, Secrets, Store, Tracer, Vault, Verifier

if TYPE_CHECKING:
    from app.rulesets import RuleSets
    from rules.fields import Catalogue


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


def catalogue() -> Catalogue:
    """The field catalogue of the installed Stripe SDK."""
    from rules.fields import Catalogue

    return Catalogue.load()


def connectors(settings: Settings, secrets: Secrets, vault: Vault) -> Mapping[str, ActionExecutor]:
    """Every action this installation offers, by name."""
    return {}
