"""The signing secrets of Stripe's webhooks that are set in Signalbox itself, beside those of the environment.

Whoever knows one can sign any event, so taking another one is what lets rules act on what its owner says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from app import tenants
from app.audit import entry
from rules.ports import Secrets, Store, Write
from rules.rule import Problem, RuleError

STORED = "stripe/webhook"  # its name among the secrets; comma-separated, like STRIPE_WEBHOOK_SECRET
ABOUT = "stripe"
_SECRET = re.compile(r"(?:(?:live|test):)?whsec_[^\s,]{8,}")


def stored(secrets: Secrets) -> list[str]:
    """The one that was set first comes first."""
    return [part.strip() for part in (secrets.get(STORED) or "").split(",") if part.strip()]


def is_begun(store: Store, secrets: Secrets) -> bool:
    """Whether one was set here or an event has come; until then nothing signs, so somebody has to begin."""
    known = (store.find(tenant, "event", order="recorded", limit=1).items for tenant in tenants.every(store))
    return bool(stored(secrets)) or any(known)


def check(secret: str) -> None:
    """Raises RuleError for what is no signing secret."""
    if not _SECRET.fullmatch(secret):
        message = "A signing secret begins with whsec_. It stands on the endpoint's page at Stripe."
        raise RuleError([Problem("secret", message)])


def add(
    store: Store,
    secrets: Secrets,
    tenant: str,
    secret: str,
    actor: str,
    now: datetime,
    why: str = "",
    also: Sequence[Write] = (),
) -> int:
    """Take webhooks that are signed with it, too; how many there are then. Raises RuleError. The entry comes first: no
    secret is good of which the log knows nothing."""
    check(secret)
    store.commit(tenant, None, [entry(now, actor, "add webhook secret", ABOUT, why=why), *also])
    kept = list(dict.fromkeys([*stored(secrets), secret]))
    secrets.put(STORED, ",".join(kept))
    return len(kept)


def forget(store: Store, secrets: Secrets, tenant: str, actor: str, now: datetime, why: str) -> None:
    """Those of the environment stay."""
    secrets.put(STORED, "")
    store.commit(tenant, None, [entry(now, actor, "forget webhook secrets", ABOUT, why=why)])
